"""The whole command on a source that is streamed: the same bytes, one weight file on the disk, kills survived."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub import Fault, Hub
from mlx_publish.source import room
from mlx_publish.source import streamed as source_streamed
from models import make_model
from pipeline import User, digests, read_json, wait_for, write_recipe
from plans import write_plan_of
from streamed import made, scattered

LLAMA, EXPERTS, WIDER = "acme/Llama", "acme/Experts", "acme/Wider"
VARIANTS = ["4bit", "8bit"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Llamas and a mixture of experts, in eight shards, and all experts over all of them.

    What comes with the headers is all of the first two; of the wider one most has to arrive.
    """
    folder = tmp_path_factory.mktemp("sources")
    experts = scattered(made(folder / "experts", "qwen3_moe"), 8)
    wider = make_model(folder / "wider", hidden=256, layers=4, shards=8)
    return {LLAMA: make_model(folder / "llama", shards=8), EXPERTS: experts, WIDER: wider}


@pytest.fixture
def hub(tmp_path: Path, sources: dict[str, Path]) -> Iterator[Hub]:
    with Hub(tmp_path / "hub", cdn=True) as hub:
        for name, folder in sources.items():
            hub.put(name, {path.name: path for path in folder.iterdir()})
        yield hub


def user_of(hub: Hub, place: Path, source: str = LLAMA, **keys: Any) -> tuple[User, Path]:
    """Somebody with a recipe `r`."""
    user = User(place, hub, "read")
    user.home.mkdir(parents=True, exist_ok=True)
    given = {"variants": VARIANTS, "stream": True} | keys
    recipe = {key: value for key, value in given.items() if value is not None}
    return user, write_recipe(place / "r.yaml", source=source, revision=hub.head(source), **recipe)


def models(user: User) -> dict[str, dict[str, str]]:
    return {label: digests(user.home / "work/r" / label / "model") for label in VARIANTS}


@pytest.fixture(scope="module")
def ordinary(
    tmp_path_factory: pytest.TempPathFactory, sources: dict[str, Path]
) -> dict[str, dict[str, dict[str, str]]]:
    """What the ordinary way makes."""
    place, results = tmp_path_factory.mktemp("ordinary"), {}
    with Hub(place / "hub") as hub:
        for name, folder in sources.items():
            hub.put(name, {path.name: path for path in folder.iterdir()})
            user, recipe = user_of(hub, place / name.replace("/", "-"), name, stream=None)
            user.run("convert", "--recipe", recipe)
            results[name] = models(user)
    return results


@pytest.mark.parametrize("source", [LLAMA, EXPERTS, WIDER])
def test_the_bytes_are_those_of_the_ordinary_way_and_each_is_fetched_once(
    hub: Hub, tmp_path: Path, source: str, ordinary: dict[str, Any], sources: dict[str, Path]
) -> None:
    user, recipe = user_of(hub, tmp_path / "u", source)
    ended = user.run("inspect", "--recipe", recipe)
    assert "streaming the source from the Hub, one weight file at a time: as the recipe asks" in ended.text
    user.run("convert", "--recipe", recipe)
    assert models(user) == ordinary[source]
    total = sum(path.stat().st_size for path in sources[source].glob("*.safetensors"))
    assert hub.fetched() <= 1.02 * total
    assert not (user.home / "work/r/source/stream").exists()
    assert not list((user.home / "huggingface").rglob("*.safetensors"))
    assert {request.token_name for request in hub.bytes_log} == {None}
    again = user.run("convert", "--recipe", recipe)
    assert again.out.count("unchanged") == 4


def test_the_card_says_so_and_the_widest_variant_stands_for_the_source(hub: Hub, tmp_path: Path) -> None:
    user, recipe = user_of(hub, tmp_path / "u")
    ended = user.run("run", "--recipe", recipe)
    folder = user.home / "work/r"
    evidence = read_json(folder / "4bit/evidence.json")
    assert evidence["model"]["streamed"] is True
    assert evidence["fidelity"]["against"]["label"] == "8bit"
    assert evidence["smoke"]["source_answers"] == {}
    card = (folder / "4bit/model/README.md").read_text(encoding="utf-8")
    assert "- Read straight from the Hub, one weight file at a time, each compared with the Hub's SHA-256" in card
    assert "The source itself was not kept on the machine." in card
    assert "because the source was streamed and is not on this disk" in card
    assert "the source is not asked: the source was streamed from the Hub" in ended.text
    [fidelity] = [
        check for check in read_json(folder / "8bit/fidelity.json")["checks"] if check["id"] == "compared-with"
    ]
    assert "not measured, because the source was streamed" in fidelity["message"]
    assert "room for the source on its disk" in fidelity["remedy"]


@pytest.mark.parametrize("where", ["header", "data"])
def test_one_flipped_byte_on_its_way_puts_nothing_in_place(
    hub: Hub, tmp_path: Path, where: str, ordinary: dict[str, Any], sources: dict[str, Path]
) -> None:
    user, recipe = user_of(hub, tmp_path / "u", variants=VARIANTS)
    path = "model-00004-of-00008.safetensors"
    data = (sources[LLAMA] / path).read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    # In the header a blank that becomes another character of JSON would be refused as no JSON at all.
    at = data.index(b'"dtype"') + 3 if where == "header" else start + (len(data) - start) // 2
    hub.faults.append(Fault("GET", hub.tree(LLAMA)[path].sha256 or "", 1, "flip", after_bytes=at))
    ended = user.run("convert", "--recipe", recipe, code=4 if where == "data" else 1)
    if where == "data":
        assert f"{path} was downloaded, but its bytes differ from the Hub's" in ended.text
        assert "run the same command again" in ended.text
    assert not [label for label in VARIANTS if (user.home / "work/r" / label / "model").exists()]
    user.run("convert", "--recipe", recipe)
    assert models(user) == ordinary[LLAMA]


def test_a_byte_that_flipped_into_infinity_is_told_as_what_it_is(hub: Hub, tmp_path: Path) -> None:
    """The child refuses the number, perhaps before its digest is known to be wrong."""
    path = "model-00003-of-00008.safetensors"
    data = bytearray(hub.read(LLAMA, "main", path))
    start = 8 + int.from_bytes(data[:8], "little")
    data[start : start + 2] = b"\x80\x7e"  # one bit from the exponent of all ones, and some mantissa: NaN
    hub.put(LLAMA, {path: bytes(data)})
    user, recipe = user_of(hub, tmp_path / "u")
    sha256 = hub.tree(LLAMA)[path].sha256 or ""
    hub.faults.append(Fault("GET", sha256, 1, "flip", after_bytes=start + 1))
    ended = user.run("convert", "--recipe", recipe, code=4)
    assert f"{path} was downloaded, but its bytes differ" in ended.text
    user.run("convert", "--recipe", recipe)


def test_a_source_that_is_no_number_is_refused_and_leaves_nothing(
    hub: Hub, tmp_path: Path, sources: dict[str, Path]
) -> None:
    path = "model-00003-of-00008.safetensors"
    data = bytearray((sources[LLAMA] / path).read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    data[start : start + 2] = b"\x80\x7f"
    hub.put(LLAMA, {path: bytes(data)})
    user, recipe = user_of(hub, tmp_path / "u")
    ended = user.run("convert", "--recipe", recipe, code=1)
    assert "contains NaN or infinity" in ended.text
    assert not (user.home / "work/r/source/stream").exists()


# Both are killed while a file arrives, is converted and let go; experts wait for several files besides.
@pytest.mark.slow
@pytest.mark.parametrize("source", [EXPERTS, pytest.param(WIDER, marks=pytest.mark.nightly)])
def test_kills_at_any_moment_change_nothing(hub: Hub, tmp_path: Path, source: str, ordinary: dict[str, Any]) -> None:
    user, recipe = user_of(hub, tmp_path / "u", source)
    user.run("inspect", "--recipe", recipe)
    dice = random.Random(23)  # noqa: S311  no secret
    start = time.monotonic()
    process = user.start("convert", "--recipe", recipe)
    process.communicate(timeout=120)
    whole = time.monotonic() - start
    assert process.returncode == 0
    shutil.rmtree(user.home / "work")
    kills = finished = 0
    while kills < 12:
        process = user.start("convert", "--recipe", recipe)
        time.sleep(dice.uniform(0.2, 1.2) * whole)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        elif process.returncode == 0:
            finished += 1
            shutil.rmtree(user.home / "work")
        process.communicate()
    user.run("convert", "--recipe", recipe)
    assert models(user) == ordinary[source]
    assert not (user.home / "work/r/source/stream").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_ends_soon_and_goes_on_afterwards(
    hub: Hub, tmp_path: Path, how: signal.Signals, ordinary: dict[str, Any]
) -> None:
    user, recipe = user_of(hub, tmp_path / "u", WIDER)
    last = hub.tree(WIDER)["model-00008-of-00008.safetensors"]
    assert last.size > 300_000
    # Its header comes as ever, the rest in hours.
    hub.faults.append(Fault("GET", str(last.sha256), 1, "slow", after_bytes=1 << 20))
    hub.faults.append(Fault("GET", str(last.sha256), 1000, "slow", after_bytes=100))
    journal = user.home / "work/r/source/stream/journal"
    process = user.start("convert", "--recipe", recipe)
    wait_for(lambda: journal.is_file() and journal.read_text().count('"shard"') == 7, 120)
    process.send_signal(how)
    start = time.monotonic()
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 130, out
    assert time.monotonic() - start < 10
    hub.faults.clear()
    status = user.run("status", "--recipes", "recipes", "--work", user.home / "work")
    assert "7 of 8 weight files are converted" in status.text
    before = hub.fetched()
    ended = user.run("convert", "--recipe", recipe)
    assert "going on with an interrupted conversion: 7 of 8 weight files are converted" in ended.text
    assert models(user) == ordinary[WIDER]
    assert hub.fetched() - before <= last.size


def test_files_in_the_cache_are_used_and_stay(hub: Hub, tmp_path: Path, ordinary: dict[str, Any]) -> None:
    user, _ = user_of(hub, tmp_path / "u")
    _, ordinarily = user_of(hub, tmp_path / "u", stream=None)
    user.run("convert", "--recipe", ordinarily)
    blobs = digests(user.home / "huggingface/hub/models--acme--Llama/blobs")
    shutil.rmtree(user.home / "work")
    user, recipe = user_of(hub, tmp_path / "u")
    before = hub.fetched()
    ended = user.run("convert", "--recipe", recipe)
    assert "of it are in the Hub's cache" in ended.text
    assert models(user) == ordinary[LLAMA]
    assert digests(user.home / "huggingface/hub/models--acme--Llama/blobs") == blobs
    assert hub.fetched() - before <= 8 * 100_001
    damaged = next(
        path
        for path in (user.home / "huggingface/hub/models--acme--Llama/blobs").iterdir()
        if path.stat().st_size > 20_000 and len(path.name) == 64
    )
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\0")
    shutil.rmtree(user.home / "work")
    ended = user.run("convert", "--recipe", recipe, code=4)
    assert "in the Hub's cache differs from the Hub's digest" in ended.text
    user.run("convert", "--recipe", recipe)
    assert models(user) == ordinary[LLAMA]
    assert damaged.is_file()


def test_a_header_that_is_damaged_in_the_cache_is_no_verdict_on_the_model(
    hub: Hub, tmp_path: Path, ordinary: dict[str, Any]
) -> None:
    user, recipe = user_of(hub, tmp_path / "u", stream=None)
    user.run("convert", "--recipe", recipe)
    shutil.rmtree(user.home / "work")
    name = str(hub.tree(LLAMA)["model-00004-of-00008.safetensors"].sha256)
    damaged = user.home / "huggingface/hub/models--acme--Llama/blobs" / name
    data = bytearray(damaged.read_bytes())
    data[data.index(b"{")] ^= 1
    damaged.write_bytes(data)
    user, recipe = user_of(hub, tmp_path / "u")
    ended = user.run("convert", "--recipe", recipe, code=4)
    assert f"{name} in the Hub's cache differs from the Hub's digest" in ended.text
    user.run("convert", "--recipe", recipe)
    assert models(user) == ordinary[LLAMA]


def test_a_conversion_with_the_whole_source_removes_what_a_streamed_one_left(
    hub: Hub, tmp_path: Path, ordinary: dict[str, Any]
) -> None:
    user, recipe = user_of(hub, tmp_path / "u")
    user.run("inspect", "--recipe", recipe)
    stream = user.home / "work/r/source/stream"
    assert stream.is_dir()
    user, recipe = user_of(hub, tmp_path / "u", stream=False)
    user.run("convert", "--recipe", recipe)
    assert not stream.exists()
    assert models(user) == ordinary[LLAMA]


def test_a_source_that_does_not_fit_beside_its_result_is_streamed_by_itself(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ordinary: dict[str, Any], sources: dict[str, Path]
) -> None:
    monkeypatch.setattr(room, "_BESIDE", 0)
    user, recipe = user_of(hub, tmp_path / "u", stream=None)
    monkeypatch.setattr(room, "_free", lambda _: 300_000)
    ended = user.run("convert", "--recipe", recipe)
    assert "do not fit on the disk beside the result" in ended.text
    assert models(user) == ordinary[LLAMA]
    [finding] = [
        check for check in read_json(user.home / "work/r/4bit/inspect.json")["checks"] if check["id"] == "room"
    ]
    assert "; the source is streamed from the Hub, with at most" in finding["message"]
    files = [path.stat().st_size for path in sources[LLAMA].glob("*.safetensors")]
    details = finding["details"]
    assert (details["disk_largest_file_bytes"], details["disk_cached_bytes"]) == (max(files), 0)
    assert details["disk_ordinary_bytes"] == details["disk_result_bytes"] + sum(files)


def test_what_has_no_room_in_either_way_is_told_with_both_figures(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, recipe = user_of(hub, tmp_path / "u", stream=None)
    monkeypatch.setattr(room, "_free", lambda _: 220_000)
    ended = user.run("inspect", "--recipe", recipe, code=4)
    assert "even if the source is streamed, the conversion needs about" in ended.text
    assert "with the whole source it needs" in ended.text
    _, recipe = user_of(hub, tmp_path / "u", stream=False)
    monkeypatch.setattr(room, "_free", lambda _: 300_000)
    ended = user.run("inspect", "--recipe", recipe, code=4)
    assert "are on one disk with 300.0 kB free" in ended.text
    assert "'stream: false' forbids to stream it" in ended.text
    _, recipe = user_of(hub, tmp_path / "u", stream=None, variants=["4bit-gptq"])
    monkeypatch.setattr(room, "_free", lambda _: 200_000)
    ended = user.run("inspect", "--recipe", recipe, code=4)
    assert "it cannot be streamed, because gptq learns from the whole source (4bit-gptq)" in ended.text


CONTRADICTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "gptq": ({"variants": ["4bit-gptq"]}, "gptq learns from the whole source (4bit-gptq)"),
    "awq": ({"variants": ["4bit", "4bit-awq"]}, "awq learns from the whole source (4bit-awq)"),
    "dwq": ({"variants": ["4bit-dwq"]}, "dwq learns from the whole source (4bit-dwq)"),
    "a plan": ({"variants": [{"target_bpw": 4.6}]}, "a plan is measured with the whole source (4.6bpw)"),
    "auto": ({"variants": "auto"}, "a plan is measured with the whole source (near-identical)"),
    "an adapter": ({"adapter": "acme/Adapter"}, "'adapter' is fused into a base that is there as a whole"),
    "multi-token heads": ({"mtp": "keep"}, "'mtp' writes the multi-token heads once the conversion has ended"),
    "transformers": (
        {"fidelity": {"reference": "transformers"}},
        "'reference: transformers' computes with the whole source",
    ),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_what_needs_the_whole_source_is_refused_by_inspect(hub: Hub, tmp_path: Path, name: str) -> None:
    keys, words = CONTRADICTIONS[name]
    hub.put("acme/Adapter", {"adapter_config.json": b"{}"})
    user, recipe = user_of(hub, tmp_path / "u", **keys)
    ended = user.run("inspect", "--recipe", recipe, code=2)
    [line] = [n for n, text in enumerate(recipe.read_text().splitlines(), 1) if '"stream"' in text]
    assert f"r.yaml:{line}: stream: the source is streamed, but {words}" in ended.text
    assert "next:" in ended.text
    assert not hub.fetched()


def test_a_folder_cannot_be_streamed(tmp_path: Path, sources: dict[str, Path]) -> None:
    user = User(tmp_path / "u")
    user.home.mkdir()
    recipe = write_recipe(tmp_path / "u/r.yaml", source=str(sources[LLAMA]), stream=True)
    ended = user.run("inspect", "--recipe", recipe, code=2)
    assert "stream: a source that is a folder is on this disk already" in ended.text
    ended = user.run("inspect", "--source", sources[LLAMA], "--stream", "true", code=2)
    assert "--stream: a source that is a folder" in ended.text
    recipe = write_recipe(tmp_path / "u/r.yaml", source=str(sources[LLAMA]), stream=False)
    user.run("inspect", "--recipe", recipe)


def test_clean_removes_what_an_interrupted_conversion_left(hub: Hub, tmp_path: Path) -> None:
    user, recipe = user_of(hub, tmp_path / "u")
    user.run("inspect", "--recipe", recipe)
    stream = user.home / "work/r/source/stream"
    assert stream.is_dir()
    ended = user.run("clean", "--older-than", "0", "--dry-run")
    assert "would remove work/r/source/stream" in ended.text
    user.run("clean", "--older-than", "0")
    assert not stream.exists()
    user.run("convert", "--recipe", recipe)


def test_an_upload_with_rebuild_and_a_verification_stream_once_more(hub: Hub, tmp_path: Path) -> None:
    accept = [{"check": "evidence-complete", "reason": "nothing to compare with"}]
    user, recipe = user_of(hub, tmp_path / "u", variants=["4bit"], to="lab/Llama-{variant}", accept=accept)
    user.token = "write"
    user.run("run", "--recipe", recipe)
    ended = user.run("upload", "--recipe", recipe, "--rebuild")
    assert "streaming the source from the Hub" in ended.text
    assert not list((user.home / "huggingface").rglob("model-0000*"))
    reader = User(tmp_path / "reader", hub, "read")
    reader.home.mkdir()
    ended = reader.run("verify", "lab/Llama-4bit", "--rebuild")
    assert "streaming" not in ended.text


def test_a_plan_that_is_given_is_followed_straight_from_the_hub(
    hub: Hub, tmp_path: Path, sources: dict[str, Path]
) -> None:
    place, results = tmp_path / "plan.yaml", []
    write_plan_of(sources[LLAMA], place)
    for name, streams in (("ordinary", None), ("streamed", True)):
        variants = [{"plan": str(place), "name": "planned"}]
        user, recipe = user_of(hub, tmp_path / name, stream=streams, variants=variants)
        user.run("convert", "--recipe", recipe)
        results.append(digests(user.home / "work/r/planned/model"))
    assert results[0] == results[1]
    assert "quantization-plan.yaml" in results[0]


def test_weights_of_which_mlx_needs_a_copy_are_not_streamed(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_streamed, "is_odd", lambda _: True)
    user, recipe = user_of(hub, tmp_path / "u")
    ended = user.run("inspect", "--recipe", recipe, code=2)
    assert "stream: the source cannot be streamed: model-00001-of-00008.safetensors has tensors of a type" in ended.text
    _, recipe = user_of(hub, tmp_path / "u", stream=None)
    user.run("inspect", "--recipe", recipe)
