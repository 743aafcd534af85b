"""Front matter of the source, with the traps of YAML."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_publish.model import card as card_module
from mlx_publish.model.card import parse_card, read_card
from mlx_publish.model.files import MemoryFiles

README = "the source's README.md"


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("---\nlicense: mit\n---\n# Title\n", {"license": "mit"}),
        ("---\nlicense: mit\n---", {"license": "mit"}),
        ("---\r\nlicense: mit\r\ntags:\r\n- a\r\n---\r\n# Title\r\n", {"license": "mit", "tags": ["a"]}),
        ("\ufeff---\nlicense: mit\n---\n", {"license": "mit"}),
        ("---  \nlicense: mit\n---\t\n", {"license": "mit"}),
        ("\n\n---\nlicense: mit\n---\n", {"license": "mit"}),
        (" \t\r\n\ufeff\n---\nlicense: mit\n---\n", {"license": "mit"}),
        ("---\rlicense: mit\r---\r# Title\r", {"license": "mit"}),
        ("---\nlanguage: no\n---\n", {"language": "no"}),
        ("---\nlanguage: [no, yes, on]\n---\n", {"language": ["no", "yes", "on"]}),
        ("---\nnote: |\n  a\n  ---\n  b\nlicense: mit\n---\n", {"note": "a\n---\nb\n", "license": "mit"}),
        ("---\nnote: a --- b\nlicense: mit\n---\n\n---\nlicense: gpl\n---\n", {"note": "a --- b", "license": "mit"}),
        ("---\n1: a\n---\n", {"1": "a"}),
    ],
)
def test_front_matter_is_read(text: str, data: dict[str, Any]) -> None:
    card = parse_card(text)
    assert (card.data, card.problem) == (data, "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", f"{README} has no front matter"),
        ("# Title\n---\nlicense: mit\n---\n", f"{README} has no front matter"),
        ("---\nlicense: mit\n", f"{README} has no front matter"),
        ("----\nlicense: mit\n---\n", f"{README} has no front matter"),
        ("---\na: 1\nb: [\n---\n", f"the front matter of {README} is not valid YAML at line 4"),
        ("---\na: 1\na: 2\n---\n", f"the front matter of {README} is not valid YAML at line 3"),
        ("\n\n---\na: 1\nb: [\n---\n", f"the front matter of {README} is not valid YAML at line 6"),
        ("---\n\tx: 1\n---\n", f"the front matter of {README} is not valid YAML at line 2"),
        ("---\na: 2024-13-45\n---\n", f"the front matter of {README} is not valid YAML at line 2"),
        ("---\na: !!bool x\n---\n", f"the front matter of {README} is not valid YAML at line 2"),
        (
            "---\n" + "[" * 600 + "\n---\n",
            f"the front matter of {README} cannot be read: is nested deeper than 32 levels",
        ),
        (
            "---\na: !!python/object/apply:os.system [x]\n---\n",
            f"the front matter of {README} is not valid YAML at line 2",
        ),
        ("---\n- a\n---\n", f"the front matter of {README} is not a mapping"),
        ("---\n---\n", f"the front matter of {README} is not a mapping"),
    ],
)
def test_a_problem_is_told_and_nothing_breaks(text: str, problem: str) -> None:
    card = parse_card(text)
    assert (card.data, card.problem) == ({}, problem)


def test_one_text_or_a_list_of_them() -> None:
    card = parse_card("---\ntags: a\nlanguage: [en, 5, '']\nlicense: ' mit '\nname: [x]\nempty: ' '\nyear: 2024\n---\n")
    assert (card.texts("tags"), card.texts("language"), card.texts("none")) == (("a",), ("en",), ())
    assert (card.text("license"), card.text("name"), card.text("empty"), card.text("year")) == (
        "mit",
        None,
        None,
        None,
    )


def test_no_readme_and_one_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_card(MemoryFiles({})).problem == "the source has no README.md"
    files = MemoryFiles({"README.md": b"---\nlicense: mit\n---\n"})
    assert read_card(files).text("license") == "mit"
    monkeypatch.setattr(card_module, "SMALL", 4)
    assert read_card(files).problem == "the source's README.md is too large to read"


def test_bytes_that_are_no_text_do_not_hide_the_rest() -> None:
    assert read_card(MemoryFiles({"README.md": b"---\nlicense: mit\n---\n\xff"})).text("license") == "mit"


def test_what_pyyaml_writes_where_two_lists_are_the_same_is_read() -> None:
    card = parse_card("---\nlicense: mit\ndatasets: &id001\n- a/b\nother: *id001\ntext: 'Say &anchor or *this'\n---\n")
    assert not card.problem
    assert card.data["other"] == ["a/b"]
    assert card.data["text"] == "Say &anchor or *this"


@pytest.mark.parametrize(
    "bomb",
    [
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "a: &a [*a]\n",
        "a: &a {b: &b [x]}\nc: *b\n",
        "b: *a\na: &a [x]\n",
        "a: &a [" + "x, " * 1000 + "x]\n" + "".join(f"b{number}: *a\n" for number in range(200)),
        "a: &a {x: y}\nb: {<<: *a}\n",
    ],
)
def test_what_repeats_itself_without_measure_is_not_read(bomb: str) -> None:
    assert "cannot be read" in parse_card(f"---\nlicense: mit\n{bomb}---\n").problem
