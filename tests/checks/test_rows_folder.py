"""Links, names, sizes and legal texts of a source, as the checks tell them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from headers import LAYERS, facts, failures, find, weight_bytes
from mlx_publish.checks import folder as folder_checks
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.checks.folder import is_refused_unread
from mlx_publish.model.files import FolderFiles
from mlx_publish.model.metadata import Metadata

Change = Callable[[Path], object]


def in_folder(folder: Path) -> SourceFacts:
    """The same good source as `facts`, in a folder."""
    source = facts(license="mit")
    folder.mkdir()
    for path in source.source.entries:
        (folder / path).write_bytes(source.source.files.read(path))
    recipe = replace(source.recipe, source_folder=folder)
    return replace(source, recipe=recipe, identity="", source=Metadata(FolderFiles(folder)))


def refused(source: SourceFacts) -> bool:
    return is_refused_unread(source.source, source.recipe.accepted)


def test_a_good_source_passes_in_a_folder_and_elsewhere(tmp_path: Path) -> None:
    for source in (facts(), in_folder(tmp_path / "m")):
        assert failures(source) == []
        assert not refused(source)
        assert {find(id_, source).status for id_ in ("links-inside", "file-names", "file-sizes", "legal-texts")} == {
            "pass"
        }


@pytest.mark.parametrize(
    "name", ["LICENSE", "config.json", "tokenizer.json", "model.safetensors", "README.md", "notes/x"]
)
def test_a_link_out_of_the_source_is_refused_by_name_and_target_for_ever(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("a secret of the user")
    source = in_folder(tmp_path / "m")
    (tmp_path / "m" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "m" / name).unlink(missing_ok=True)
    (tmp_path / "m" / name).symlink_to(tmp_path / "secret")
    finding = find("links-inside", source)
    assert finding.status == "fail"
    assert f"{name} is a link to {tmp_path}/secret"[:100] in finding.message
    assert "cp -L" in finding.remedy
    assert failures(source) == ["links-inside"]
    assert refused(source)


@pytest.mark.parametrize(
    ("change", "check", "words"),
    [
        (lambda m: (m / "license").write_text("MIT"), "file-names", "LICENSE and license are one file on a Mac"),
        (lambda m: _hollow(m / "tokenizer.model", 1 << 40), "file-sizes", "almost none of its 1.1 TB"),
        (lambda m: _hollow(m / "model.safetensors", 1 << 40), "file-sizes", "model.safetensors"),
        (lambda m: _hollow(m / "NOTICE", 90 << 30), "legal-texts", "NOTICE (has more than 1,048,576 bytes"),
        (lambda m: (m / "NOTICE").write_bytes(b"cos\nsystem\n(S'id'\ntR."), "legal-texts", "NOTICE (is a pickle"),
        (lambda m: (m / "LICENSE").write_bytes(b"\xfd7zXZ\0\0"), "legal-texts", "LICENSE (is no text"),
        (
            lambda m: (m / "model-\x1b[2J.safetensors").write_bytes(b""),
            "file-names",
            "model-\\x1b[2J.safetensors holds U+001B",
        ),
    ],
)
def test_what_is_refused_before_it_is_digested(tmp_path: Path, change: Change, check: str, words: str) -> None:
    source = in_folder(tmp_path / "m")
    change(tmp_path / "m")
    assert check in failures(source)
    assert words in find(check, source).message
    assert refused(source)


def _hollow(path: Path, size: int) -> None:
    before = path.read_bytes() if path.exists() else bytes(range(1, 99))
    with path.open("wb") as file:
        file.write(before)
        file.truncate(size)


def test_weights_that_go_on_behind_their_last_tensor_are_refused_before_they_are_digested(tmp_path: Path) -> None:
    source = in_folder(tmp_path / "m")
    (tmp_path / "m/model.safetensors").write_bytes(weight_bytes(LAYERS) + b"more")
    assert refused(source)
    assert "goes on for 4 bytes behind the last tensor" in find("readable", source).message


def test_a_file_beside_the_weights_has_a_most(monkeypatch: pytest.MonkeyPatch) -> None:
    source = facts({"merges.txt": b"x" * 3000, "README.md": b"x" * 9000})
    assert find("file-sizes", source).status == "pass"
    monkeypatch.setattr(folder_checks, "SMALL", 2999)
    assert (
        find("file-sizes", source).message
        == "merges.txt has 3,000 bytes, and the limit for files other than weights is 2,999"
    )


@pytest.mark.parametrize("name", ["LICENSE.7z", "NOTICE.html", "COPYING\x1b[2J"])
def test_what_is_plainly_no_legal_text_is_left_behind_and_told(name: str) -> None:
    source = facts({name: b"x"})
    finding = find("legal-texts", source)
    assert finding.status == "warn"
    assert name.replace("\x1b", "\\x1b") in finding.message
    assert "carried over: LICENSE" in finding.message
    assert name not in source.source.needed
    assert name not in find("side-files", source).message


def test_a_recipe_may_publish_without_a_broken_notice(tmp_path: Path) -> None:
    files = {"NOTICE": b"\0"}
    assert failures(facts(files)) == ["legal-texts"]
    accepted = facts(files, accept=[{"check": "legal-texts", "reason": "The notice is a broken download"}])
    assert failures(accepted) == []
    assert accepted.source.needed & {"NOTICE", "LICENSE"} == {"LICENSE"}


def test_names_of_a_hub_are_judged_like_those_of_a_folder() -> None:
    assert failures(facts({"License": b"MIT"})) == ["file-names"]
    chat = {f"additional_chat_templates/{name}.jinja": b"{{ messages }}" for name in ("Tools", "tools")}
    assert "file-names" in failures(facts(chat))


def test_a_template_whose_name_cannot_be_published_is_told() -> None:
    finding = find("file-names", facts({"additional_chat_templates/a\x1bb.jinja": b"{{ messages }}"}))
    assert (finding.status, "a\\x1bb.jinja" in finding.message) == ("warn", True)


def test_other_files_may_have_any_name_and_size(tmp_path: Path) -> None:
    source = in_folder(tmp_path / "m")
    for name in (
        "Icon\r",
        "a\udcff.py",
        "b\udcff.safetensors",
        "photo \u202e.png",
        "e\u0301.md",
        "\u00e9.md",
        "A.txt",
        "a.txt",
    ):
        (tmp_path / "m" / name).write_text("x")
    _hollow(tmp_path / "m/pytorch_model.bin", 1 << 40)
    assert failures(source) == []
    assert not refused(source)
