"""A cloned model carries nobody's file away: the whole command on folders that want to."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gate import gate
from hub import Hub
from mlx_publish.context import Context
from mlx_publish.conversion.weights import convert_weights
from mlx_publish.errors import SurroundingsError
from mlx_publish.recipes.read import recipe_from_flags
from mlx_publish.source import room
from mlx_publish.stages import convert_stage, inspect_stage
from mlx_publish.stages.runner import run_stages
from mlx_publish.text.console import Console
from mlx_publish.work import Work
from models import make_model
from pipeline import User, read_json
from test_gate_source_files import inspect

SECRET = "aws_secret_access_key = wJalrXUtnFEMI"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "credentials").write_text(SECRET)
    return make_model(tmp_path / "m")


def nowhere(folder: Path, words: str = SECRET) -> None:
    """None of the words is in any file below a folder but the one that they came from."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.name != "credentials":
            assert words.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    "target",
    ["../credentials", "/proc/self/environ", "/dev/zero", "../pipe"],
    ids=["file", "environ", "device", "pipe"],
)
def test_a_link_out_of_the_folder_is_refused_with_name_and_target(source: Path, target: str) -> None:
    os.mkfifo(source.parent / "pipe")
    for name in ("NOTICE", "README.md"):
        (source / name).unlink(missing_ok=True)
        (source / name).symlink_to(target)
    text = inspect(source, 1)
    assert f"NOTICE is a link to {target}, which is outside the folder" in text
    assert text.count("FAIL") == 1
    report = read_json(source.parent / "work/m/4bit/inspect.json")
    assert (report["verdict"], report["inputs"]["source"]) == ("refused", "")
    assert not (source.parent / "work/m/.digests.json").exists()
    nowhere(source.parent)


def test_a_pipe_in_the_folder_hangs_nobody(source: Path) -> None:
    os.mkfifo(source / "COPYING")
    assert "COPYING is a pipe, not a file" in inspect(source, 1)


def test_links_within_the_folder_and_the_cache_of_the_hub_are_converted(source: Path, tmp_path: Path) -> None:
    repo = tmp_path / "models--acme--Tiny"
    snapshot = repo / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir()
    for number, path in enumerate(sorted(source.iterdir())):
        path.rename(repo / "blobs" / f"{number:040x}")
        (snapshot / path.name).symlink_to(f"../../blobs/{number:040x}")
    (snapshot / "NOTICE").symlink_to("LICENSE")
    made = gate(snapshot, "--bits", 8, "--group-size", 32)
    folder = made.model("8bit-gs32")
    assert (folder / "NOTICE").read_bytes() == (folder / "LICENSE").read_bytes() == (snapshot / "LICENSE").read_bytes()
    assert not [path for path in folder.rglob("*") if path.is_symlink()]


def test_what_lies_beside_a_model_in_a_work_tree_changes_nothing(source: Path) -> None:
    for name in (
        ".git/config",
        ".gitattributes",
        ".cache/huggingface/download/x.metadata",
        "images/a.png",
        "modeling.py",
    ):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("x")
    (source / ".git/link").symlink_to("/etc/passwd")
    os.mkfifo(source / ".git/pipe")
    inspect(source, 0)


def hollow(path: Path, size: int) -> None:
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(b"" if path.stat().st_size else b"MIT License")
        file.truncate(size)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: hollow(m / "NOTICE", 90 << 30), "NOTICE (has more than 1,048,576 bytes"),
        (lambda m: hollow(m / "model.safetensors", 1 << 40), "model.safetensors is incomplete: almost none of its"),
        (lambda m: (m / "COPYING").write_bytes(b"\xfd7zXZ\0\0\4"), "COPYING (is no text"),
        (lambda m: (m / "license").write_text("MIT"), "LICENSE and license are one file on a Mac"),
    ],
    ids=["notice of 90 GB", "weights of 1 TB", "xz", "license"],
)
def test_huge_and_false_files_are_refused_before_anything_is_digested(
    source: Path, change: Callable[[Path], object], words: str
) -> None:
    change(source)
    assert words in inspect(source, 1)
    assert not (source.parent / "work/m/.digests.json").exists()


def begun(source: Path) -> Context:
    recipe = recipe_from_flags({"source": str(source)})
    return Context(recipe, recipe.variants, Work(source.parent / "work", recipe.name), Console(io.StringIO()))


@pytest.mark.parametrize("lacking", ["_free", "memory_bytes"])
def test_a_folder_that_needs_more_room_than_there_is_is_not_digested(
    source: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    monkeypatch.setattr(room, lacking, lambda *_: 1000)
    with pytest.raises(SurroundingsError, match=r"1\.0 kB"):
        run_stages(begun(source), (inspect_stage.STAGE,))
    assert not (source.parent / "work/m/.digests.json").exists()
    assert read_json(source.parent / "work/m/4bit/inspect.json")["verdict"] == "error"


def test_what_was_inspected_before_needs_no_more_room(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_stages(begun(source), (inspect_stage.STAGE,)) == ()
    monkeypatch.setattr(room, "_free", lambda *_: 1000)
    again = begun(source)
    assert run_stages(again, (inspect_stage.STAGE,)) == ()
    assert isinstance(again.console.out, io.StringIO)
    assert "unchanged" in again.console.out.getvalue()


def test_files_of_a_foreign_ending_are_left_behind_and_told(source: Path) -> None:
    for name in ("LICENSE.7z", "NOTICE.html", "COPYING.command", "LICENSE\x1b[2J", "NOTICE\u202etxt"):
        (source / name).write_bytes(b"\0")
    made = gate(source, "--bits", 8, "--group-size", 32)
    folder = made.model("8bit-gs32")
    assert made.status("8bit-gs32")["legal-texts"] == "warn"
    assert [path.name for path in folder.iterdir() if path.name.upper().startswith(("LIC", "NOT", "COP"))] == [
        "LICENSE"
    ]


def test_only_what_was_judged_stands_in_the_digest_of_a_folder(source: Path) -> None:
    def identity() -> str:
        inspect(source, 0)
        return str(read_json(source.parent / "work/m/4bit/inspect.json")["inputs"]["source"])

    first = identity()
    (source / ".hidden").write_text("x")
    assert identity() == first
    (source / "bytes \udcff.png").write_bytes(b"x")
    second = identity()
    assert second != first
    (source / "LICENSE").write_text("another")
    assert identity() not in (first, second)


def test_a_look_at_the_template_follows_no_link_out_of_the_folder(source: Path) -> None:
    (source / "chat_template.jinja").symlink_to("../credentials")
    ended = User(source.parent / "home").run("smoke", "--template-only", "--source", source, code=1)
    assert "chat_template.jinja is a link to ../credentials" in ended.text
    assert SECRET not in ended.text


@pytest.mark.parametrize("name", ["model.safetensors", "LICENSE", "tokenizer.json"])
def test_a_file_that_is_exchanged_while_it_is_converted_is_not_published(
    source: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:

    def exchange(*arguments: Any) -> Any:
        result = convert_weights(*arguments)
        (source / name).unlink()
        (source / name).symlink_to("../credentials")
        return result

    monkeypatch.setattr(convert_stage, "convert_weights", exchange)
    context = begun(source)
    assert run_stages(context, (inspect_stage.STAGE, convert_stage.STAGE)) == ("4bit",)
    assert isinstance(context.console.out, io.StringIO)
    assert f"{name}: changed while it was being read" in " ".join(context.console.out.getvalue().split())
    assert not context.work.model("4bit").exists()


def test_children_are_shown_only_what_counts(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "traceback.py").write_text("raise SystemExit")
    (source / "secret.json").write_text(SECRET)
    shown = set[str]()

    def look(context: Any, variants: Any, folders: Any, prepared: Any, *rest: Any) -> Any:
        for folder in (prepared.source, prepared.links, prepared.side):
            shown.update(path.name for path in folder.rglob("*"))
            for path in folder.rglob("*"):
                assert not path.is_symlink() or path.name == "model.safetensors" or folder == prepared.links
        return convert_weights(context, variants, folders, prepared, *rest)

    monkeypatch.setattr(convert_stage, "convert_weights", look)
    context = begun(source)
    assert run_stages(context, (inspect_stage.STAGE, convert_stage.STAGE)) == ()
    assert shown >= {"config.json", "model.safetensors", "tokenizer.json", "LICENSE"}
    assert not shown & {"traceback.py", "secret.json"}


def test_a_repo_of_a_hub_is_judged_by_its_list_and_its_legal_files(source: Path, tmp_path: Path) -> None:
    good: dict[str, bytes | Path] = {path.name: path for path in source.iterdir()}
    with Hub(tmp_path / "hub") as hub:
        ada = User(tmp_path / "home", hub, "read")
        for name, more, words in (
            ("Twice", {"license": b"MIT"}, "LICENSE and license are one file on a Mac"),
            ("Pickle", {"NOTICE": b"cos\nsystem\n(S'id'\ntR."}, "NOTICE (is a pickle, not a text)"),
        ):
            hub.put(f"acme/{name}", {**good, **more})
            ended = ada.run("convert", "--source", f"acme/{name}", "--work", tmp_path / "work", code=1)
            assert words in ended.text
            weights = [
                request.sent
                for request in hub.log
                if f"{name}/resolve/" in request.path and "safetensors" in request.path
            ]
            assert sum(weights) < (source / "model.safetensors").stat().st_size  # its header alone
        hub.put("acme/Left", {**good, "LICENSE.7z": b"7z\xbc\xaf", "NOTICE.html": b"<html>"})
        ada.run("convert", "--source", "acme/Left", "--work", tmp_path / "work")
    names = {path.name for path in (tmp_path / "work/Left/4bit/model").iterdir()}
    assert "LICENSE" in names
    assert not names & {"LICENSE.7z", "NOTICE.html"}
