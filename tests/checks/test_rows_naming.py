"""Revision, names that are taken, and whose word on the licence counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headers import COMMIT, facts, find


@pytest.mark.parametrize("revision", [None, "main", "v1.0"])
def test_a_branch_is_told_how_to_be_pinned(revision: str | None) -> None:
    finding = find("revision", facts(revision=revision))
    assert finding.status == "warn"
    assert finding.message.startswith(f"{revision or 'the default branch'} is commit {COMMIT}")
    assert finding.remedy == f"Add --revision {COMMIT}"


def test_a_commit_is_pinned() -> None:
    assert find("revision", facts()).message == f"pinned to commit {COMMIT}"


def test_a_folder_is_identified_by_its_digest(tmp_path: Path) -> None:
    source = facts()
    finding = find(
        "revision", replace(source, recipe=replace(source.recipe, source_folder=tmp_path), identity="f" * 64)
    )
    assert (finding.status, "f" * 12 in finding.message) == ("pass", True)


@pytest.mark.parametrize(
    ("taken", "status", "words"),
    [
        ({}, "skip", "not a Hub repo"),
        ({"acme/a": False}, "pass", "not taken yet: acme/a"),
        ({"acme/a": False, "acme/b": True}, "warn", "exists already: acme/b"),
    ],
)
def test_names_that_are_taken(taken: dict[str, bool], status: str, words: str) -> None:
    finding = find("not-taken", replace(facts(), taken=taken))
    assert finding.status == status
    assert words in finding.message


@pytest.mark.parametrize(
    ("keys", "card", "words"),
    [
        ({"license": "apache-2.0"}, "license: mit", "apache-2.0"),
        ({"license": "apache-2.0"}, "", "apache-2.0"),
        ({}, "license: other\nlicense_name: Own\nlicense_link: LICENSE", "Own"),
        ({"license_name": "Own", "license_link": "https://x.org"}, "license: other", "Own"),
        (
            {"license": "other", "license_name": "Own", "license_link": "https://x.org"},
            "license: mit\nlicense_name: Theirs",
            "Own",
        ),
    ],
)
def test_the_recipe_says_the_licence_before_the_card(keys: dict[str, Any], card: str, words: str) -> None:
    finding = find("licence", facts({"README.md": f"---\n{card}\n---\n".encode()}, **keys))
    assert (finding.status, finding.message) == ("pass", f"the licence is {words}")
