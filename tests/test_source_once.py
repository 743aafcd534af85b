"""The source's digests are taken while it is converted; what they find comes before anything is put in place."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hub import Hub
from mlx_publish.children.digesting import Digesting
from mlx_publish.conversion.weights import convert_weights
from mlx_publish.errors import Refused, SurroundingsError
from mlx_publish.evidence import beside
from mlx_publish.evidence import digests as digests_module
from mlx_publish.evidence.report import PASSING
from mlx_publish.stages import convert_stage
from models import answer_table, make_model, make_scripted
from pipeline import User, digests, leftovers, read_json, read_so_far, reports, write_recipe

SOURCE = "acme/Tiny"
WAIT = 60  # seconds after which a digest that nobody converts beside fails its test


class Held:
    """Digests that are not taken before the conversion is at work, where `does` happens first."""

    def __init__(self) -> None:
        self.converts = threading.Event()
        self.beside: list[bool] = []
        """For each child: whether a conversion had begun when it began."""
        self.files: list[list[str]] = []
        """For each child: the names of its files."""
        self.does: Callable[[], None] = lambda: None


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    """Weights of any size are digested beside, once they are being converted."""
    held, take, convert = Held(), Digesting._take, convert_weights

    def late(self: Digesting) -> None:
        held.files.append(sorted(self.files))
        for _ in range(20 * WAIT):
            if held.converts.wait(0.05) or self._stop.is_set():
                break
        held.beside.append(held.converts.is_set())
        take(self)

    def converting(*arguments: Any) -> Any:
        held.does()
        held.converts.set()
        return convert(*arguments)

    monkeypatch.setattr(beside, "LEAST", 0)
    monkeypatch.setattr(Digesting, "_take", late)
    monkeypatch.setattr(convert_stage, "convert_weights", converting)
    return held


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_model(tmp_path / "Tiny", shards=2)


@pytest.fixture
def flags(source: Path, tmp_path: Path) -> list[str]:
    return ["--source", str(source), "--work", str(tmp_path / "work"), "--variants", "4bit,8bit"]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as hub:
        yield hub


def variant(tmp_path: Path, label: str = "4bit") -> Path:
    return tmp_path / "work" / "Tiny" / label


def without_times(folder: Path) -> dict[str, Any]:
    """Return the reports of a variant, but for the free space of the disk."""
    found = dict(reports(folder))
    for report in found.values():
        for check in report["checks"]:
            check["details"].pop(PASSING, None)
    return found


def test_reports_are_those_of_a_run_that_took_the_digests_first(
    user: User, tmp_path: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    user.run("convert", *flags)
    first = {label: without_times(variant(tmp_path, label)) for label in ("4bit", "8bit")}
    (tmp_path / "work").rename(tmp_path / "before")
    held: Held = request.getfixturevalue("held")
    said = user.run("convert", *flags).text
    assert held.beside == [True]
    assert held.files == [["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]]
    assert {label: without_times(variant(tmp_path, label)) for label in ("4bit", "8bit")} == first
    assert said.index("inspect Tiny") < said.index("convert Tiny")
    identity = first["4bit"]["inspect"]["inputs"]["source"]
    assert len(identity) == 64
    assert identity[:12] in json.dumps(first["4bit"]["inspect"]["checks"])
    again = user.run("convert", *flags).text
    assert again.count(": unchanged") == 4


def test_a_console_that_prints_every_check_prints_the_digest(user: User, flags: list[str], held: Held) -> None:
    said = user.run("convert", *flags, "-v").text
    assert held.beside == [True]
    assert "the folder's files are identified by the digest" in said
    assert "being digested" not in said


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_conversion_reads_its_source_once_as_the_system_counts(user: User, tmp_path: Path) -> None:
    def read(hidden: int) -> tuple[int, int]:
        """Return the bytes that a conversion of two variants read, and those of source and outputs."""
        source, work = make_model(tmp_path / f"m{hidden}", hidden=hidden, layers=4), tmp_path / f"work{hidden}"
        before = read_so_far()
        user.run("convert", "--source", source, "--work", work, "--variants", "4bit,8bit", through="python")
        made = [path.stat().st_size for path in work.rglob("model/*.safetensors")]
        assert len(made) == 2
        return read_so_far() - before, (source / "model.safetensors").stat().st_size + sum(made)

    (least, _), (most, bytes_) = read(64), read(1024)
    assert bytes_ > 50_000_000
    # What the smaller one reads are mostly the modules of Python.
    assert most - least < 1.1 * bytes_


def test_inspect_alone_reports_the_digest(
    user: User, tmp_path: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "LEAST", 0)
    user.run("inspect", *flags)
    report = read_json(variant(tmp_path) / "inspect.json")
    assert report["result"]["source"]["identity"] == report["inputs"]["source"]
    assert len(report["inputs"]["source"]) == 64


@pytest.mark.parametrize(
    ("error", "code", "verdict"),
    [
        (SurroundingsError("the disk is full"), 4, "error"),
        (Refused("a number is none", check="numbers-finite"), 1, "refused"),
        (ZeroDivisionError("a bug"), 3, None),
    ],
)
def test_inspects_report_is_there_after_a_conversion_that_fails(
    user: User, tmp_path: Path, flags: list[str], held: Held, error: Exception, code: int, verdict: str | None
) -> None:
    def fail() -> None:
        held.converts.set()
        raise error

    held.does = fail
    user.run("convert", *flags, code=code)
    inspect = read_json(variant(tmp_path) / "inspect.json")
    assert (inspect["verdict"], len(inspect["inputs"]["source"])) == ("pass", 64)
    path = variant(tmp_path) / "convert.json"
    assert (read_json(path)["verdict"] if path.exists() else None) == verdict
    if verdict:
        convert = read_json(path)
        assert convert["inputs"]["source"] == inspect["inputs"]["source"]
        assert convert["chain"]["before"] == {"inspect": inspect["chain"]["own"]}
    assert not (variant(tmp_path) / "model").exists()


def flip(path: Path) -> None:
    """Change the last byte of a file."""
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))


@pytest.mark.parametrize("does", [flip, lambda path: os.truncate(path, path.stat().st_size // 2)])
def test_a_source_that_changes_in_the_middle_is_refused_with_nothing_in_place(
    user: User, source: Path, tmp_path: Path, flags: list[str], held: Held, does: Callable[[Path], None]
) -> None:
    held.does = lambda: does(source / "model-00002-of-00002.safetensors")
    said = user.run("convert", *flags, code=1).text
    assert "model-00002-of-00002.safetensors: changed while it was being read" in said
    assert not list((tmp_path / "work").rglob("model"))
    assert not list((tmp_path / "work").rglob("convert.json"))
    assert not leftovers(tmp_path / "work")


def test_an_interrupt_waits_for_no_digest(
    user: User, tmp_path: Path, flags: list[str], held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(convert_stage, "convert_weights", interrupted)
    user.run("convert", *flags, code=130)
    assert held.beside == [False]
    assert not list((tmp_path / "work").rglob("*/inspect.json"))
    assert not leftovers(tmp_path / "work")
    monkeypatch.undo()
    user.run("convert", *flags)


def test_a_folder_that_a_look_refuses_is_not_digested(user: User, source: Path, flags: list[str], held: Held) -> None:
    (source / "LICENSE").unlink()
    (source / "LICENSE").symlink_to("/etc/passwd")
    user.run("convert", *flags, code=1)
    assert held.files == []


def test_nothing_is_digested_a_second_time_by_later_stages(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, take = list[str](), digests_module._digested

    def counted(path: Path, *rest: Any) -> str:
        read.append(path.resolve().as_posix())
        return take(path, *rest)

    monkeypatch.setattr(digests_module, "_digested", counted)
    make_scripted(tmp_path / "Tiny", answer_table())
    recipe = write_recipe(tmp_path / "Tiny.yaml", source=str(tmp_path / "Tiny"), to=f"folder:{tmp_path}/out")
    flags = ["--recipe", recipe, "--work", tmp_path / "work"]
    user.run("convert", *flags)
    read.clear()
    for stage in ("smoke", "fidelity", "benchmark", "card"):
        user.run(stage, *flags)
        assert [path for path in read if path.endswith(".safetensors")] == []
    assert ": unchanged" in user.run("convert", *flags).text
    assert [path for path in read if path.endswith(".safetensors")] == []


def test_digests_of_weights_are_those_that_were_taken_as_they_were_written(
    user: User, tmp_path: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read, take = list[str](), digests_module._digested

    def counted(path: Path, *rest: Any) -> str:
        read.append(path.as_posix())
        return take(path, *rest)

    monkeypatch.setattr(digests_module, "_digested", counted)
    user.run("convert", *flags)
    assert [path for path in read if path.endswith("/model/config.json")]
    assert not [path for path in read if "/model/" in path and path.endswith(".safetensors")]
    model, known = variant(tmp_path) / "model", read_json(tmp_path / "work/Tiny/.digests.json")
    reported = {
        file["path"]: file["sha256"] for file in read_json(variant(tmp_path) / "convert.json")["result"]["files"]
    }
    assert reported == digests(model)
    assert {path: known[str(model / path)]["sha256"] for path in reported} == reported


def test_a_wrong_byte_of_a_download_is_found_before_anything_is_in_place(
    hub: Hub, tmp_path: Path, source: Path, held: Held
) -> None:
    ada = User(tmp_path / "home", hub, "write")
    commit = hub.put(SOURCE, {path.name: path for path in source.iterdir()})
    flags = ["--source", SOURCE, "--revision", commit, "--work", tmp_path / "work"]
    ada.run("inspect", *flags)
    repo = hub.store.find(SOURCE)
    assert repo
    weights = repo.object(hub.tree(SOURCE)["model-00002-of-00002.safetensors"].digest)
    right = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    said = ada.run("convert", *flags, code=4).text
    assert held.beside == [True]
    assert "acme/Tiny/model-00002-of-00002.safetensors was downloaded, but its bytes differ from the Hub's" in said
    assert not (variant(tmp_path) / "model").exists()
    assert read_json(variant(tmp_path) / "convert.json")["verdict"] == "error"
    weights.write_bytes(right)
    ada.run("convert", *flags)
    assert (variant(tmp_path) / "model").exists()
    # The file that was right is known by now, and the wrong one was removed and is digested.
    assert held.files[1:] == [["model-00002-of-00002.safetensors"]]
    ada.run("convert", *flags, "--force")
    assert len(held.files) == 2


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_a_wrong_byte_of_a_small_file_is_found_before_anybody_reads_it(
    hub: Hub, tmp_path: Path, source: Path, held: Held, name: str
) -> None:
    ada = User(tmp_path / "home", hub, "write")
    commit = hub.put(SOURCE, {path.name: path for path in source.iterdir()})
    flags = ["--source", SOURCE, "--revision", commit, "--work", tmp_path / "work"]
    ada.run("convert", *flags)
    before = (variant(tmp_path) / "model" / "model.safetensors").stat()
    flip(ada.home / "huggingface/hub/models--acme--Tiny/snapshots" / commit / name)
    read = list[str]()
    held.does = lambda: read.append("weights")
    said = ada.run("convert", *flags, "--force", code=4).text
    assert f"acme/Tiny/{name} was downloaded, but its bytes differ from the Hub's" in said
    assert read == []
    assert (variant(tmp_path) / "model" / "model.safetensors").stat() == before
    ada.run("convert", *flags, "--force")
    assert read == ["weights"]
