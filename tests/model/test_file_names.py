"""Names of files that are published, compared and shown."""

from __future__ import annotations

import pytest

from mlx_publish.model.names import name_fault, same_on_a_mac, shown
from mlx_publish.model.select import is_tokenizer


@pytest.mark.parametrize(
    "path",
    ["LICENSE", "model-00001-of-00002.safetensors", "additional_chat_templates/rag v2.jinja", "\u6a21\u578b.tiktoken"],
)
def test_common_names_are_fine(path: str) -> None:
    assert name_fault(path) == ""


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("a\x1b[2J", "U+001B"),
        ("a\rb", "U+000D"),
        ("a\nb", "U+000A"),
        ("a\u202eb", "right-to-left override"),
        ("a\u2066b", "U+2066"),
        ("a\u200fb", "right-to-left mark"),
        ("a\u200bb", "zero width space"),
        ("a\u2028b", "U+2028"),
        ("a\xa0b", "no-break space"),
        ("a\u3164b", "hangul filler"),
        ("a\udcff", "not UTF-8"),
        ("a\x9b", "U+009B"),
        ("a\\b", "backslash"),
        ("../a", "hidden"),
        ("a//b", "empty"),
        (".env", "hidden"),
        ("a /b", "blank"),
        ("x" * 201, "201"),
    ],
)
def test_names_that_hide_something_are_not_published(path: str, fault: str) -> None:
    assert fault in name_fault(path)
    assert not is_tokenizer(f"{path}.tiktoken")


@pytest.mark.parametrize(
    "pair",
    [
        ("LICENSE", "license"),
        ("caf\u00e9.tiktoken", "cafe\u0301.tiktoken"),
        ("\u00c4", "a\u0308"),
        ("stra\u00dfe", "STRASSE"),
        ("a/X.jinja", "A/x.jinja"),
        ("\u212a", "k"),
    ],
)
def test_names_that_are_one_on_a_mac_are_found(pair: tuple[str, str]) -> None:
    assert len(same_on_a_mac(pair)) == 1


def test_different_names_are_different() -> None:
    assert same_on_a_mac(["LICENSE", "LICENCE", "LICENSE.txt", "LICENSE.md", "LICENSE"]) == ()


def test_a_strangers_name_is_shown_cut_and_printable() -> None:
    assert shown("a\x1b\r\n\u202e\u3164b") == "a\\x1b\\r\\n\\u202e\\u3164b"
    assert len(shown("x" * 1000)) < 100
    assert shown("\udcff").isprintable()
