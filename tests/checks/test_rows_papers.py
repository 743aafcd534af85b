"""Licence, card and files beside the weights."""

from __future__ import annotations

from typing import Any

import pytest

from headers import POINTER, facts, failures, find


def card(text: str) -> dict[str, Any]:
    return {"README.md": f"---\n{text}---\n".encode()}


OTHER = "license: other\nlicense_name: house rules\n"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (card("language: en\n"), "the licence is unknown"),
        (card("license: unknown\n"), "the source's card says 'license: unknown'"),
        (card("license: Unknown\n"), "the source's card says 'license: unknown'"),
        (card("license: Apache License 2.0\n"), "'Apache License 2.0' is not a licence identifier"),
        (card("license: other\n"), "'other' without a name and a link"),
        (card(OTHER), "'other' without a name and a link"),
        ({**card(f"{OTHER}license_link: LICENSE\n"), "LICENSE": None}, "LICENSE, a file that the source does not have"),
        (card(f"{OTHER}license_link: ./LICENSE.md\n"), "./LICENSE.md, a file that the source does not have"),
        ({**card("license: mit\nlicense_link: docs/x.md\n"), "docs/x.md": b"x"}, "a file that is not copied"),
    ],
)
def test_a_licence_that_leads_nowhere_is_refused_unless_the_recipe_gives_one(files: dict[str, Any], words: str) -> None:
    source = facts(files)
    assert failures(source) == ["licence"]
    assert words in find("licence", source).message
    own: dict[str, Any] = {"license": "other", "license_name": "x", "license_link": "https://a.b/c"}
    assert failures(facts(files, **own)) == []


@pytest.mark.parametrize("link", ["LICENSE", "./LICENSE", "https://a.b/LICENSE", "LICENSE#top"])
def test_links_that_arrive(link: str) -> None:
    assert failures(facts(card(f"{OTHER}license_link: {link}\n"))) == []


@pytest.mark.parametrize(
    ("readme", "words"),
    [
        (None, "the source has no README.md"),
        (b"# no front matter", "no front matter"),
        (b"---\nlicense: [mit\n---\n", "not valid YAML"),
        (b"---\n- a\n---\n", "not a mapping"),
    ],
)
def test_a_missing_or_broken_card_is_told_and_the_recipe_supplies_fields(readme: bytes | None, words: str) -> None:
    finding = find("source-card", facts({"README.md": readme}, license="mit"))
    assert finding.status == "warn"
    assert words in finding.message
    assert failures(facts({"README.md": readme}, license="mit")) == []
    assert failures(facts({"README.md": readme})) == ["licence"]


def test_languages_that_the_card_cannot_carry_are_told() -> None:
    readme = card("license: mit\nlanguage: [english, en, zh-Hans, 'Português']\n")
    finding = find("source-card", facts(readme))
    assert finding.status == "warn"
    assert finding.message.endswith("they are left out: 'english', 'Português'")
    assert find("source-card", facts(readme, language=["en", "pt-BR"])).status == "pass"
    assert find("source-card", facts(card("license: mit\nlanguage: [en, multilingual]\n"))).status == "pass"


@pytest.mark.parametrize("path", ["LICENSE", "tokenizer.model", "chat_template.jinja"])
def test_a_pointer_in_place_of_a_file_is_named(path: str) -> None:
    source = facts({path: POINTER})
    assert failures(source) == ["side-files"]
    assert f"{path} is a git-lfs pointer" in find("side-files", source).message
