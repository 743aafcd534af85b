"""`mlx-publish verify`: what was published beside its evidence, by anyone, without a token."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import once
from hub import Hub
from models import answer_table, make_scripted
from pipeline import QUICK, User

SOURCE, REPO = "acme/Scripted", "lab/Scripted-MLX-4bit"
WEIGHTS = "model.safetensors"


def publish(root: Path) -> None:
    """Publish from a Hub to a Hub; what stays is the Hub's disk."""
    model = make_scripted(root / "model", answer_table())
    with Hub(root / "hub") as hub:
        commit = hub.put(SOURCE, {path.name: path for path in sorted(model.iterdir())})
        recipe = {"source": SOURCE, "revision": commit, "to": "lab/{source}-MLX-{variant}", **QUICK}
        (root / "home").mkdir()
        (root / "home/r.json").write_text(json.dumps(recipe | {"card": {"notes": "Mine, all *mine*."}}))
        User(root / "home", hub, "write").run("publish", "--recipe", "r.json", "--work", root / "work")
    shutil.rmtree(root / "work")


@dataclass
class Anyone:
    """Somebody without a token, and the Hub."""

    hub: Hub
    user: User

    def verify(self, *words: object, code: int = 0, place: str = REPO) -> dict[str, dict[str, Any]]:
        """The findings by id."""
        report = json.loads(self.user.run("verify", place, "--json", *words, code=code).out)
        assert report["verdict"] == ("refused" if code else "pass")
        return {check["id"]: check for check in report["checks"]}

    def evidence(self) -> dict[str, Any]:
        evidence: dict[str, Any] = json.loads(self.hub.read(REPO, "main", "mlx-publish.json"))
        return evidence

    def put_evidence(self, change: Callable[[dict[str, Any]], object]) -> None:
        data = self.evidence()
        change(data)
        self.hub.put(REPO, {"mlx-publish.json": json.dumps(data, indent=2).encode()})


@pytest.fixture
def anyone(shared: Path, tmp_path: Path) -> Iterator[Anyone]:
    kept = once(shared / "verified", publish)
    shutil.copytree(kept / "hub", tmp_path / "hub")
    with Hub(tmp_path / "hub") as hub:
        yield Anyone(hub, User(tmp_path / "home", hub))


def statuses(checks: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: check["status"] for name, check in checks.items()}


def flipped(hub: Hub, path: str, at: int = -1) -> None:
    """Change one bit of a published file."""
    data = bytearray(hub.read(REPO, "main", path))
    data[at] ^= 1
    hub.put(REPO, {path: bytes(data)})


GOOD = dict.fromkeys(
    (
        "evidence-readable",
        "files-as-told",
        "evidence-whole",
        "weights-as-told",
        "card-as-told",
        "all-tested",
        "checks-told",
    ),
    "pass",
) | dict.fromkeys(("signature-fits", "signed-by", "measured-by"), "skip")
UNASKED = dict.fromkeys(("facts-of-source", "made-again", "vouched-for"), "skip")
ASKED = {"facts-of-source": "pass", "made-again": "pass", "vouched-for": "skip"}


def test_what_was_published_is_verified_without_whole_weights(anyone: Anyone) -> None:
    checks = anyone.verify()
    assert statuses(checks) == {**GOOD, **UNASKED}
    assert SOURCE in checks["evidence-readable"]["message"]
    weights = anyone.hub.tree(REPO)[WEIGHTS].digest
    asked = [
        request.status
        for request in anyone.hub.log
        if request.method == "GET" and request.path.endswith((WEIGHTS, weights))
    ]
    # 206: a range, in which the header lies; a redirect leads there.
    assert set(asked) <= {206, 302, 307}
    assert 206 in asked
    assert {request.token_name for request in anyone.hub.log} == {None}


def test_the_verdict_is_said_in_a_table(anyone: Anyone) -> None:
    name = f"{REPO}@{anyone.hub.head(REPO)[:12]}"
    output = anyone.user.run("verify", REPO).text
    assert f"{name}: verified" in output
    assert f"{name} is what its evidence says Next for converting" in output
    assert f"mlx-publish verify {REPO} --rebuild" in output
    tag = next(iter(anyone.hub.tags(REPO)))
    assert anyone.verify(place=f"{REPO}@{tag}")
    flipped(anyone.hub, WEIGHTS)
    text = anyone.user.run("verify", REPO, code=1).text
    assert "NOT verified" in text
    assert "does not match its evidence; 1 check failed: files-as-told Next:" in text
    # The tag still stands for the good bytes.
    assert statuses(anyone.verify(place=f"{REPO}@{tag}"))["files-as-told"] == "pass"


def test_converted_again_it_is_the_same(anyone: Anyone, tmp_path: Path) -> None:
    checks = anyone.verify("--rebuild")
    assert statuses(checks) == {**GOOD, **ASKED}
    assert "byte for byte" in checks["made-again"]["message"]
    assert not list((anyone.user.home / "tmp").glob("mlx-publish-verify-*"))
    assert (tmp_path / "home/work").exists() is False


def test_one_flipped_byte_in_a_weight_is_named(anyone: Anyone) -> None:
    flipped(anyone.hub, WEIGHTS)
    checks = anyone.verify("--rebuild", code=1)
    assert {name for name, check in checks.items() if check["status"] == "fail"} == {"files-as-told", "made-again"}
    assert checks["files-as-told"]["details"] == {"other": [WEIGHTS], "missing": [], "extra": []}
    assert checks["made-again"]["details"]["other"] == [WEIGHTS]


def forged(data: dict[str, Any], sha256: str) -> None:
    """Somebody changes a weight and the evidence with it."""
    for file in data["model"]["files"]:
        if file["path"] == WEIGHTS:
            file["sha256"] = sha256


def test_evidence_that_was_changed_along_is_found_by_its_own_digest_and_by_making_it_again(anyone: Anyone) -> None:
    flipped(anyone.hub, WEIGHTS)
    anyone.put_evidence(lambda data: forged(data, anyone.hub.tree(REPO)[WEIGHTS].digest))
    checks = anyone.verify("--rebuild", code=1)
    assert checks["files-as-told"]["status"] == "pass"
    assert checks["evidence-whole"]["status"] == "fail"
    assert checks["made-again"]["details"]["other"] == [WEIGHTS]


@pytest.mark.parametrize("path", ["README.md", "config.json", "tokenizer.json"])
def test_any_other_changed_file_is_named(anyone: Anyone, path: str) -> None:
    anyone.hub.put(REPO, {path: anyone.hub.read(REPO, "main", path) + b"\n"})
    checks = anyone.verify(code=1)
    [failed] = [check for check in checks.values() if check["status"] == "fail"]
    assert failed["id"] == ("card-as-told" if path == "README.md" else "files-as-told")
    assert path in failed["message"]


def test_what_was_added_or_removed_is_named(anyone: Anyone) -> None:
    anyone.hub.put(REPO, {"modeling_x.py": b"import os\n"})
    assert anyone.verify(code=1)["files-as-told"]["details"]["extra"] == ["modeling_x.py"]
    listed = [file["path"] for file in anyone.evidence()["model"]["files"]]
    anyone.put_evidence(lambda data: data["model"]["files"].append({"path": "x.json", "size": 1, "sha256": "0" * 64}))
    assert "x.json" not in listed
    assert anyone.verify(code=1)["files-as-told"]["details"]["missing"] == ["x.json"]


NUMBERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "weights-as-told": lambda data: data["model"].update(bits_per_weight=8.5),
    "card-as-told": lambda data: data["fidelity"].update(mean_kld=0.00001),
}


@pytest.mark.parametrize("check", NUMBERS)
def test_a_changed_number_of_the_evidence_is_found(anyone: Anyone, check: str) -> None:
    anyone.put_evidence(NUMBERS[check])
    checks = anyone.verify(code=1)
    assert checks[check]["status"] == "fail"
    assert checks["files-as-told"]["status"] == "pass"


LEFT_OUT: dict[str, tuple[Callable[[dict[str, Any]], object], str, str]] = {
    "no checks": (lambda data: data.update(checks=[]), "checks-told", "lists no check of inspect"),
    "one check less": (lambda data: data["checks"].pop(), "checks-told", "lacks checks of"),
    "a failed check": (lambda data: data["checks"][0].update(status="fail"), "checks-told", "failed"),
    "a check of its own": (
        lambda data: data["checks"].append({**data["checks"][0], "id": "x\x1b[2J"}),
        "checks-told",
        "does not have: x",
    ),
    "no smoke": (lambda data: data.update(smoke=None), "all-tested", "smoke: missing"),
    "no fidelity": (
        lambda data: data["missing"].update(fidelity="") or data.update(fidelity=None),
        "all-tested",
        "fidelity: missing",
    ),
    "no checks of another version": (
        lambda data: data.update(checks=[], generator="0.0.1"),
        "checks-told",
        "lists no check of inspect",
    ),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_evidence_that_leaves_out_a_test_or_a_check_is_not_verified(anyone: Anyone, name: str) -> None:
    change, check, words = LEFT_OUT[name]
    anyone.put_evidence(change)
    checks = anyone.verify(code=1)
    assert checks[check]["status"] == "fail"
    assert words in checks[check]["message"]
    assert checks[check]["message"].isprintable()


def test_a_config_that_its_source_does_not_give_is_found_by_making_it_again(anyone: Anyone) -> None:
    anyone.put_evidence(lambda data: data["config"].update(context=10**6))
    check = anyone.verify("--rebuild", code=1)["facts-of-source"]
    assert check["status"] == "fail"
    assert "config.context says 1000000, but inspect.json says" in check["message"]


def test_it_says_what_is_its_publishers_word_alone(anyone: Anyone) -> None:
    claimed = anyone.verify()["vouched-for"]
    assert {"smoke", "fidelity", "ladder", "checks", "licence", "source"} <= {*claimed["details"]["claimed"]}
    again = anyone.verify("--rebuild")["vouched-for"]
    assert "source" not in again["details"]["claimed"]
    assert "claimed only by its publisher" in again["message"]


BROKEN: dict[str, tuple[bytes, str]] = {
    "no JSON": (b"{", "not valid JSON"),
    "another schema": (b'{"schema": "x"}', "has the schema 'x'"),
    "no object": (b"[]", "has the schema None"),
    "half": (b'{"schema": "mlx-publish/evidence/1", "source": {}}', "is incomplete: generator: field required"),
    "a text for an object": (
        b'{"schema": "mlx-publish/evidence/1", "source": "x"}',
        "is incomplete: generator: field required",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_evidence_is_refused_and_no_bug(anyone: Anyone, name: str) -> None:
    data, words = BROKEN[name]
    anyone.hub.put(REPO, {"mlx-publish.json": data})
    checks = anyone.verify("--rebuild", code=1)
    assert list(checks) == ["evidence-readable"]
    assert words in checks["evidence-readable"]["message"]


def test_a_model_of_somebody_else_is_refused(anyone: Anyone) -> None:
    checks = anyone.verify(code=1, place=SOURCE)
    assert "has no mlx-publish.json" in checks["evidence-readable"]["message"]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("nobody/nothing", "does not exist"),
        ("./nowhere", "the folder nowhere does not exist"),
        ("a b", "neither a folder nor a repo"),
        (f"{REPO}@v99", "revision not found"),
    ],
)
def test_a_place_that_is_none_is_bad_input(anyone: Anyone, place: str, words: str) -> None:
    assert words in anyone.user.run("verify", place, code=2).text


def test_a_folder_is_verified_and_made_again_from_the_folder_it_came_from(anyone: Anyone, tmp_path: Path) -> None:
    source = make_scripted(tmp_path / "Own", answer_table())
    out = tmp_path / "out"
    anyone.user.run("publish", "--source", source, "--base-model", "acme/base", "--to", f"folder:{out}")
    assert statuses(anyone.verify(place=str(out))) == {**GOOD, **UNASKED}
    output = anyone.user.run("verify", out, "--rebuild", code=2).text
    assert "Pass that folder: --source DIR" in output
    assert anyone.verify("--rebuild", "--source", source, place=str(out))["made-again"]["status"] == "pass"
    (source / "LICENSE").write_text("another one")
    assert "but mlx-publish.json names" in anyone.user.run("verify", out, "--rebuild", "--source", source, code=2).text


def test_what_a_client_would_load_through_a_link_or_beside_the_files_is_named(anyone: Anyone, tmp_path: Path) -> None:
    whole, outside = tmp_path / "whole", tmp_path / "outside"
    source = make_scripted(tmp_path / "Own", answer_table())
    anyone.user.run("publish", "--source", source, "--base-model", "acme/base", "--to", f"folder:{whole}")
    outside.write_text("{{ 1 }}")

    def linked(path: Path) -> None:
        path.unlink(missing_ok=True)
        path.symlink_to(outside)

    def dead(path: Path) -> None:
        path.symlink_to("nowhere")

    def environment(path: Path) -> None:
        path.mkdir()
        (path / "pyvenv.cfg").touch()
        (path / "other.jinja").write_text("{{ 1 }}")

    for number, (put, name) in enumerate(
        [
            (linked, "chat_template.jinja"),
            (linked, "config.json"),
            (linked, "more.jinja"),
            (dead, "later.py"),
            (environment, "additional_chat_templates"),
        ]
    ):
        copy = shutil.copytree(whole, tmp_path / f"copy{number}")
        put(copy / name)
        check = anyone.verify(place=str(copy), code=1)["files-as-told"]
        assert check["status"] == "fail"
        assert name in check["message"]
