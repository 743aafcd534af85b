"""Patterns of recipes and requests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_publish.recipes.patterns import LANGUAGE, LICENCE, WORDS

SCHEMAS = Path(__file__).parents[1] / "scripts/mlx_publish/schemas"


def patterns(data: object) -> Iterator[str]:
    if isinstance(data, dict):
        if isinstance(data.get("pattern"), str):
            yield data["pattern"]
        data = list(data.values())
    if isinstance(data, list):
        for item in data:
            yield from patterns(item)


@pytest.mark.parametrize("name", ["recipe", "request"])
def test_no_pattern_is_shown_to_a_person(name: str) -> None:
    own = set(patterns(json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))))
    assert len(own) > 4
    assert own <= set(WORDS)


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (
            LANGUAGE,
            ["en", "no", "zh-Hans", "pt-BR", "multilingual", "code", "yue"],
            ["english", "e", "", "en_GB", "-en", "en-", "en\n"],
        ),
        (
            LICENCE,
            ["apache-2.0", "MIT", "llama3.1", "c-uda", "bsd-3-clause-clear"],
            ["Apache 2.0", "", "-mit", "mit\n", "<b>", "x" * 65],
        ),
    ],
)
def test_what_cards_can_carry(pattern: str, good: list[str], bad: list[str]) -> None:
    assert [text for text in good + bad if re.fullmatch(pattern, text)] == good
