"""Shared runs of words: what counts as a word in which script, and that no text of the package is in two places."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from mlx_publish.source.calibration import held_out_words, package_texts
from mlx_publish.source.logits import texts
from mlx_publish.text.ngrams import RUN, grams, grams_of, sharing, words


def contents(found: Mapping[str, Iterable[Any]]) -> list[str]:
    """Documents, and dialogues as one text each."""
    every = [document for kind in found.values() for document in kind]
    return [text if isinstance(text, str) else "\n".join(turn["content"] for turn in text) for text in every]


CALIBRATION, HELD_OUT = contents(package_texts()), contents(texts())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The Moon's 2nd-largest crater, 3.5 km", ["the", "moon", "s", "2nd", "largest", "crater", "3", "5", "km"]),
        ("snake_case and e\u0301te\u0301", ["snake", "case", "and", "\u00e9t\u00e9"]),
        ("ÇAY ΩΔΗ Чай", ["çay", "ωδη", "чай"]),
        ("पानी की कहानी", ["पानी", "की", "कहानी"]),
        ("بِسْمِ الكتاب", ["بِسْمِ", "الكتاب"]),
        ("看书APP的人", ["看", "书", "app", "的", "人"]),
        ("パン屋", ["パ", "ン", "屋"]),
        ("비가 그치자", ["비가", "그치자"]),
        ("…—!", []),
    ],
)
def test_words(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_runs_are_of_thirteen() -> None:
    letters = "abcdefghijklmn"
    assert [*grams(letters)] == [tuple(letters[:13]), tuple(letters[1:])]
    assert [*grams(letters[: RUN - 1])] == []
    assert grams_of([letters, letters]) == set(grams(letters))


def test_a_run_across_parts_touches_all_of_them() -> None:
    secret = words("one two three four five six seven eight nine ten eleven twelve thirteen fourteen")
    parts = [["before"], ["said", *secret[1:5]], secret[5:9], [*secret[9:14], "and"], ["after"]]
    assert sharing(parts, grams_of([secret])) == {1, 2, 3}
    assert sharing([parts[1], parts[3]], grams_of([secret])) == set()
    assert sharing([], grams_of([secret])) == set()


def test_the_package_calibrates_on_nothing_that_it_compares_on() -> None:
    held_out = grams_of(map(words, HELD_OUT))
    assert held_out_words() == held_out
    assert len(held_out) > 3000
    assert [text[:60] for text in CALIBRATION if sharing([words(text)], held_out)] == []
    assert all(sharing([words(text)], held_out) for text in HELD_OUT if len(words(text)) >= RUN)


@pytest.mark.slow
def test_nor_on_its_tokens(source: Path) -> None:
    """Code and scripts without blanks have few words and many tokens."""
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    held_out = grams_of(tokenizer.encode(text).ids for text in HELD_OUT)
    shared = [text[:60] for text in CALIBRATION if sharing([tokenizer.encode(text).ids], held_out)]
    assert shared == []


def test_ten_megabytes_take_seconds() -> None:
    text = "\n".join(CALIBRATION)
    large = text * (10_000_000 // len(text.encode()))
    begin = time.perf_counter()
    assert sharing([words(large)], held_out_words()) == set()
    assert time.perf_counter() - begin < 30


def test_the_reference_page_says_how_much_text_there_is() -> None:
    folder = files("mlx_publish").joinpath("data/calibration")
    size = sum(len(entry.read_bytes()) for entry in folder.iterdir() if entry.name.endswith(".txt"))
    assert size >= 90_000
    assert f"about {round(size, -4) // 1000} kB" in (Path(__file__).parents[1] / "docs/recipe.md").read_text("utf-8")
