"""What was probably meant by a word that nobody knows."""

from __future__ import annotations

import pytest

from mlx_publish.commands import registry
from mlx_publish.text.nearest import did_you_mean, nearest


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("inspct", "inspect"),
        ("rnu", "run"),
        ("pubilsh", "publish"),
        ("bench", "benchmark"),
        ("Review_Cards", "review-cards"),
        ("dirft", "drift"),
        ("zzz", ""),
        ("", ""),
        ("r", ""),
        ("x" * 10_000, ""),
    ],
)
def test_a_slip_of_the_finger_is_told_from_another_word(word: str, meant: str) -> None:
    assert nearest(word, registry()) == meant
    assert did_you_mean(word, registry()) == (f"; did you mean {meant}?" if meant else "")


def test_the_beginning_of_several_names_means_none_of_them() -> None:
    assert nearest("mixed", ("mixed_2_6_first", "mixed_3_4_other")) == ""


def test_among_several_the_nearest_wins() -> None:
    assert nearest("4bti", ("8bit", "4bit", "6bit")) == "4bit"
