"""A source on a Hub: pinned or not, closed or not there, and never more of it than is needed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import Fault, Hub
from models import ANSWER, answer_table, make_model, make_scripted
from pipeline import STAGES, User, checks, digests, read_json, reports, write_recipe

SOURCE = "acme/Tiny"
REPO = "lab/Tiny-MLX-4bit"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def ada(hub: Hub, tmp_path: Path) -> User:
    return User(tmp_path / "home", hub, "write")


def files(folder: Path) -> dict[str, bytes | Path]:
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture
def tiny(hub: Hub, tmp_path: Path) -> str:
    """The commit of a random model on the Hub."""
    return hub.put(SOURCE, files(make_model(tmp_path / "tiny")))


def writes(hub: Hub) -> list[str]:
    """What changed something, or wanted to: asking about paths is a POST as well."""
    return [one.path for one in hub.log if one.method not in ("GET", "HEAD") and "/paths-info/" not in one.path]


def test_the_whole_way_from_a_hub_to_a_hub_writes_nothing_before_upload(hub: Hub, ada: User, tmp_path: Path) -> None:
    commit = hub.put(SOURCE, files(make_scripted(tmp_path / "scripted", answer_table())))
    recipe = write_recipe(tmp_path / "Tiny.yaml", source=SOURCE, revision=commit, to="lab/{source}-MLX-{variant}")
    flags = ["--recipe", recipe, "--work", tmp_path / "work"]
    ada.run("run", *flags)
    assert writes(hub) == []
    assert not hub.exists(REPO)
    ended = ada.run("publish", *flags)
    assert ended.text.count(": unchanged") == len(STAGES) - 1
    variant = tmp_path / "work/Tiny/4bit"
    assert [stage for stage, report in reports(variant) if report["verdict"] == "pass"] == list(STAGES)
    assert checks(variant, "inspect")["revision"] == "pass"
    evidence = json.loads(hub.read(REPO, "main", "mlx-publish.json"))
    assert (evidence["source"]["repo"], evidence["source"]["identity"]) == (SOURCE, commit)
    assert evidence["smoke"]["exchange"]["answer"] == ANSWER
    card = hub.read(REPO, "main", "README.md").decode()
    assert f'load("{REPO}")' in card
    assert f"base_model: {SOURCE}\n" in card
    assert f"https://huggingface.co/{SOURCE}/tree/{commit}" in card
    assert f"mlx-publish convert --source {SOURCE} --revision {commit} --bits 4 --group-size 64" in card
    assert not [path for path in writes(hub) if path.startswith(f"/api/models/{SOURCE}")]
    secret = hub.token("write").encode()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_bytes()]


def test_a_branch_is_told_and_a_commit_is_pinned(hub: Hub, ada: User, tmp_path: Path, tiny: str) -> None:
    flags = ["--source", SOURCE, "--work", tmp_path / "work"]
    variant = tmp_path / "work/Tiny/4bit"
    said = ada.run("inspect", *flags).text
    assert checks(variant, "inspect")["revision"] == "warn"
    assert f"the default branch is commit {tiny} today" in said
    said = ada.run("inspect", *flags, "--revision", "main").text
    assert f"main is commit {tiny} today" in said
    ada.run("convert", *flags, "--revision", tiny)
    assert checks(variant, "inspect")["revision"] == "pass"
    before = digests(variant / "model")
    # The branch moves on; what is pinned does not.
    newer = hub.put(SOURCE, files(make_model(tmp_path / "newer", seed=1)))
    assert "convert Tiny · 4bit: unchanged" in ada.run("convert", *flags, "--revision", tiny).text
    ada.run("convert", *flags)
    assert read_json(variant / "convert.json")["inputs"]["source"] == newer
    assert digests(variant / "model")["model.safetensors"] != before["model.safetensors"]


def test_stages_run_one_by_one_stay_at_the_commit_that_inspect_found(
    hub: Hub, ada: User, tmp_path: Path, tiny: str
) -> None:
    flags = ["--source", SOURCE, "--revision", "main", "--bits", "8", "--group-size", "32", "--work", tmp_path / "work"]
    variant = tmp_path / "work/Tiny/8bit-gs32"
    ada.run("inspect", *flags)
    newer = hub.put(SOURCE, files(make_model(tmp_path / "newer", seed=1)))
    ada.run("convert", *flags)
    ada.run("convert", *flags)
    assert {read_json(variant / f"{stage}.json")["inputs"]["source"] for stage in ("inspect", "convert")} == {tiny}
    ada.run("convert", *flags, "--force")
    assert {read_json(variant / f"{stage}.json")["inputs"]["source"] for stage in ("inspect", "convert")} == {newer}
    newest = hub.put(SOURCE, files(make_model(tmp_path / "newest", seed=2)))
    ada.run("inspect", *flags)
    assert read_json(variant / "inspect.json")["inputs"]["source"] == newest


@pytest.mark.parametrize(
    ("closed", "token", "words"),
    [
        ("gated", "stranger", "is gated, and this token may not read it"),
        ("gated", None, "Accept its terms on its page"),
        ("private", None, "does not exist on http://127.0.0.1"),
        ("private", "stranger", "or this token may not see it"),
        ("missing", "write", "Check the spelling; for a private repo set HF_TOKEN."),
    ],
)
def test_a_closed_source_is_bad_input(
    hub: Hub, ada: User, tmp_path: Path, closed: str, token: str | None, words: str
) -> None:
    if closed != "missing":
        model = files(make_model(tmp_path / "m"))
        hub.put("acme/Closed", model, gated=closed == "gated", private=closed == "private")
    ada.token = token
    ended = ada.run("inspect", "--source", "acme/Closed", "--work", tmp_path / "work", code=2)
    assert words in ended.text
    assert "HF_TOKEN" in ended.text


@pytest.mark.parametrize("closed", ["gated", "private"])
def test_a_closed_source_opens_to_its_owner(hub: Hub, ada: User, tmp_path: Path, closed: str) -> None:
    hub.put("lab/Closed", files(make_model(tmp_path / "m")), gated=closed == "gated", private=closed == "private")
    ada.token = "read"
    ada.run("convert", "--source", "lab/Closed", "--work", tmp_path / "work")
    assert (tmp_path / "work/Closed/4bit/model/model.safetensors").exists()


@pytest.mark.parametrize(
    ("token", "code"), [(None, 0), ("read", 0), ("fine", 0), ("write", 2), ("fine and writing", 2)]
)
def test_a_job_that_only_converts_takes_no_token_that_may_write(
    ada: User, tmp_path: Path, tiny: str, token: str | None, code: int
) -> None:
    ada.token, ada.more = token, {"MLX_PUBLISH_ONLY_READ": "true"}
    flags = ["--source", SOURCE, "--revision", tiny, "--license", "mit", "--work", tmp_path / "work"]
    ended = ada.run("inspect", *flags, code=code)
    assert ("this job runs the model, but its token has write access" in ended.text) == bool(code)
    assert ("HF_READ_TOKEN" in ended.text) == bool(code)
    assert (tmp_path / "work").exists() == (not code)


@pytest.mark.parametrize("revision", ["v9", "0" * 40])
def test_a_revision_that_is_not_there_is_bad_input(ada: User, tmp_path: Path, tiny: str, revision: str) -> None:
    flags = ["--source", SOURCE, "--revision", revision, "--work", tmp_path / "work"]
    assert "no such revision" in ada.run("inspect", *flags, code=2).text


def test_looking_at_100_gb_costs_next_to_nothing(hub: Hub, ada: User, tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", config={"model_type": "gpt_tomorrow"})
    (model / "model.safetensors").unlink()
    hub.put("acme/Huge", files(model))
    _put_sparse(hub, "acme/Huge", shape=(500_000, 100_000))
    before = len(hub.log)
    said = ada.run("inspect", "--source", "acme/Huge", "--work", tmp_path / "work", code=1).text
    assert "cannot load the model type gpt_tomorrow" in said
    assert sum(one.sent for one in hub.log[before:]) < 2_000_000
    # The same weights under a name that mlx-lm knows do not fit into this machine, which is no verdict on them.
    hub.put("acme/Huge", {"config.json": files(make_model(tmp_path / "n"))["config.json"]})
    said = ada.run("convert", "--source", "acme/Huge", "--bits", "8", "--work", tmp_path / "work", code=4).text
    assert "next: " in said
    assert sum(one.sent for one in hub.log[before:]) < 2_000_000


def _put_sparse(hub: Hub, name: str, shape: tuple[int, int]) -> None:
    """Add weights of which only the header takes room on the disk."""
    size = 2 * shape[0] * shape[1]
    header = json.dumps({"w": {"dtype": "BF16", "shape": shape, "data_offsets": [0, size]}}).encode()
    repo, digest = hub.store.find(name), "ab" * 32
    assert repo
    with repo.object(digest).open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + size)
    repo.commit("main", repo.resolve("main").files | {"model.safetensors": repo.lfs_file(digest)}, "weights")


def test_only_the_one_set_of_weights_is_downloaded(hub: Hub, ada: User, tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", shards=2)
    shutil.copyfile(model / "model-00001-of-00002.safetensors", model / "model.fp16.safetensors")
    for name in ("pytorch_model.bin", "modeling_tiny.py", "tf_model.h5"):
        (model / name).write_bytes(b"not to be loaded")
    commit = hub.put("acme/Two", files(model))
    flags = ["--source", "acme/Two", "--revision", commit, "--work", tmp_path / "work"]
    said = ada.run("convert", *flags).text
    assert "belong to another set of weights: model.fp16.safetensors" in said
    loaded = {one.path.rpartition("/")[2] for one in hub.log if "/resolve/" in one.path}
    assert loaded.isdisjoint({"model.fp16.safetensors", "pytorch_model.bin", "modeling_tiny.py", "tf_model.h5"})
    made = {path.name for path in (tmp_path / "work/Two/4bit/model").iterdir()}
    assert [name for name in made if name.endswith((".safetensors", ".py"))] == ["model.safetensors"]


def test_other_bytes_than_the_hub_promised_are_not_converted(hub: Hub, ada: User, tmp_path: Path, tiny: str) -> None:
    flags = ["--source", SOURCE, "--revision", tiny, "--work", tmp_path / "work"]
    ada.run("inspect", *flags)
    repo = hub.store.find(SOURCE)
    assert repo
    weights = repo.object(hub.tree(SOURCE)["model.safetensors"].digest)
    right = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    assert "arrived with other bytes than the Hub has" in ada.run("convert", *flags, code=4).text
    assert not (tmp_path / "work/Tiny/4bit/model").exists()
    weights.write_bytes(right)
    ada.run("convert", *flags)
    assert (tmp_path / "work/Tiny/4bit/model").exists()


def test_a_busy_hub_is_asked_again(hub: Hub, ada: User, tmp_path: Path, tiny: str) -> None:
    hub.faults += [Fault("GET", f"/api/models/{SOURCE}/tree/", status=503)]
    ada.run("inspect", "--source", SOURCE, "--revision", tiny, "--work", tmp_path / "work")
