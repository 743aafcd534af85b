"""A recipe made from what was asked for, and pinned to the commit that was converted."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostile import HOSTILE
from mlx_publish.errors import BadInput
from mlx_publish.recipes import write
from mlx_publish.recipes.read import recipe_from_file, recipe_from_flags
from mlx_publish.recipes.write import pin, recipe_text, write_recipe

COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.mark.parametrize(
    "flags",
    [
        {"source": "a/b"},
        {"source": "a/b", "revision": "main", "variants": "4bit,8bit", "to": "lab/{source}-{variant}"},
        {
            "source": "a/b",
            "variants": "mxfp4, bf16",
            "license": "other",
            "license_name": "x",
            "license_link": "https://x.example",
        },
        {"source": "a/no", "revision": "1e5", "name": "null", "language": "no,en"},
        {"source": "a/b", "bits": "3", "group_size": "32"},
        {"source": "a/b", "mixed": "mixed_3_6", "private": "true", "adopt": "true", "base_model": "c/d"},
    ],
)
def test_the_file_gives_the_recipe_of_the_flags(tmp_path: Path, flags: dict[str, str]) -> None:
    path = write_recipe(tmp_path, flags)
    assert recipe_from_file(path, elsewhere=True).spec == recipe_from_flags(flags).spec
    before = path.read_bytes()
    assert write_recipe(tmp_path, flags) == path
    assert path.read_bytes() == before


@pytest.mark.parametrize("notes", HOSTILE)
def test_notes_stay_text(tmp_path: Path, notes: str) -> None:
    flags = {"source": "a/b", "notes": notes}
    try:
        wanted = recipe_from_flags(flags).spec
    except BadInput:
        with pytest.raises(BadInput):
            write_recipe(tmp_path, flags)
        assert not list(tmp_path.iterdir())
        return
    assert recipe_from_file(write_recipe(tmp_path, flags), elsewhere=True).spec == wanted
    assert wanted.card.notes == notes


def test_another_recipe_of_the_name_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "b.yml"
    path.write_text("source: a/b\nrevision: main\n")
    with pytest.raises(BadInput, match="another recipe with this name exists") as caught:
        write_recipe(tmp_path, {"source": "c/b"})
    assert str(caught.value.place) == f"{path}:1"
    assert [one.name for one in tmp_path.iterdir()] == ["b.yml"]


def test_variants_are_written_as_people_write_them() -> None:
    assert 'variants: ["4bit", "8bit"]\n' in recipe_text({"source": "a/b", "variants": "4bit, 8bit"})


@pytest.mark.parametrize(
    ("text", "pinned"),
    [
        (
            "# Why\nsource: a/b  # theirs\nvariants: [4bit]\n",
            f"# Why\nsource: a/b  # theirs\nrevision: {COMMIT}\nvariants: [4bit]\n",
        ),
        ("source: a/b", f"source: a/b\nrevision: {COMMIT}\n"),
        ("source: a/b\nrevision: main\nto: x/y\n", f"source: a/b\nrevision: {COMMIT}\nto: x/y\n"),
        ("source: a/b\r\nrevision: main\r\n", None),
    ],
)
def test_pinning_changes_one_line(tmp_path: Path, text: str, pinned: str | None) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(text.encode())
    assert pin(recipe_from_file(path, elsewhere=True), COMMIT)
    found = recipe_from_file(path, elsewhere=True)
    assert found.spec.revision == COMMIT
    if pinned is not None:
        assert path.read_text() == pinned
    assert not pin(found, COMMIT)


@pytest.mark.parametrize(
    ("text", "pinned"),
    [
        (b"source: a/b\r\nrevision: main # x\r\nto: x/y\r\n", b"source: a/b\r\nrevision: % # x\r\nto: x/y\r\n"),
        (b"source: a/b\r\nto: x/y\r\n", b"source: a/b\r\nrevision: %\r\nto: x/y\r\n"),
        (b"\xef\xbb\xbfsource: a/b\nrevision: main\n", b"\xef\xbb\xbfsource: a/b\nrevision: %\n"),
        (b"{source: a/b, to: x/y}\n", b"{source: a/b, revision: %, to: x/y}\n"),
        (b"{source: a/b,\n revision: main, # why\n to: x/y}\n", b"{source: a/b,\n revision: %, # why\n to: x/y}\n"),
        (b"source:\n  a/b\nto: x/y\n", b"source:\n  a/b\nrevision: %\nto: x/y\n"),
        (b"source: >-\n  a/b\nto: x/y\n", b"source: >-\n  a/b\nrevision: %\nto: x/y\n"),
        (b"source: a/b\nrevision: >-\n  main\nto: x/y\n", b"source: a/b\nrevision: %\nto: x/y\n"),
        (b"source: a/b\nrevision: # later\nto: x/y\n", b"source: a/b\nrevision: % # later\nto: x/y\n"),
        (b"source: a/b\n'revision': !!str main  # why\n", b"source: a/b\n'revision': %  # why\n"),
        (b"  source: a/b\n  to: x/y\n", b"  source: a/b\n  revision: %\n  to: x/y\n"),
        (
            "# one\u2028line\x85\nsource: a/b\nrevision:\tmain # \u202e\n".encode(),
            "# one\u2028line\x85\nsource: a/b\nrevision:\t% # \u202e\n".encode(),
        ),
    ],
)
def test_pinning_changes_the_revision_and_no_other_character(tmp_path: Path, text: bytes, pinned: bytes) -> None:
    path, link = tmp_path / "r.yaml", tmp_path / "link.yaml"
    path.write_bytes(text)
    link.symlink_to(path.name)
    assert pin(recipe_from_file(link, elsewhere=True), COMMIT)
    assert path.read_bytes() == pinned.replace(b"%", COMMIT.encode())
    assert link.is_symlink()


@pytest.mark.parametrize("changed", ["source: a/c\nrevision: %\n", "source: a/b\n", "source: [\n", "[]\n"])
def test_a_recipe_that_would_say_anything_else_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("source: a/b\n")
    recipe = recipe_from_file(path, elsewhere=True)
    monkeypatch.setattr(write, "with_value", lambda *_, **__: changed.replace("%", COMMIT))
    with pytest.raises(BadInput, match="cannot be written into this recipe") as caught:
        pin(recipe, COMMIT)
    assert f"revision: {COMMIT}" in caught.value.remedy
    assert path.read_text() == "source: a/b\n"


def test_a_folder_has_no_commit(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = tmp_path / "r.yaml"
    path.write_text("source: ./model\n")
    assert not pin(recipe_from_file(path, elsewhere=True), COMMIT)
