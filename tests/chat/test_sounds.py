"""The sounds that models are asked about: beeps, spoken digits, silence, and the files of them."""

from __future__ import annotations

import cmath
import io
import itertools
import math
import struct
import wave
from collections.abc import Sequence

import pytest

from mlx_publish.chat.media import asked_in
from mlx_publish.chat.sounds import RATE, SECONDS, SOUNDS
from mlx_publish.chat.speech import WORDS, spoken

ASKED = {medium.name: medium for medium in asked_in(SOUNDS)}
ALL = {**ASKED, SOUNDS[-1].other.name: SOUNDS[-1].other}


def samples(name: str) -> list[int]:
    """Return what a file holds."""
    with wave.open(io.BytesIO(ALL[name].file())) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
        content = file.readframes(file.getnframes())
    return list(struct.unpack(f"<{len(content) // 2}h", content))


def loud(values: Sequence[int]) -> list[bool]:
    """Return for each 20 ms whether anything is heard."""
    step = RATE // 50
    return [max(map(abs, values[at : at + step])) > 1000 for at in range(0, len(values), step)]


def heard(name: str, least: int) -> int:
    """Return how many sounds with pauses of at least so many pieces of 20 ms there are."""
    groups = [(is_loud, len(list(group))) for is_loud, group in itertools.groupby(loud(samples(name)))]
    return 1 + sum(not is_loud and length >= least for is_loud, length in groups[1:-1])


def strength(values: Sequence[float], hertz: float) -> float:
    """Return how strong a pitch is."""
    turn = -2j * math.pi * hertz / RATE
    return abs(sum(value * cmath.exp(turn * at) for at, value in enumerate(values))) / len(values)


@pytest.mark.parametrize("name", ALL)
def test_all_files_have_one_length_and_the_same_bytes_each_time(name: str) -> None:
    assert len(samples(name)) == SECONDS * RATE
    assert ALL[name].file() == ALL[name].file()
    assert max(map(abs, samples(name))) < 20_000


def test_there_are_as_many_beeps_as_a_right_answer_counts_and_of_one_pitch() -> None:
    assert (heard("beeps", 5), heard("beeps-other", 5)) == (2, 5)
    assert (ASKED["beeps"].right, ASKED["beeps-other"].right) == (("two",), ("five",))
    first = [value / 32767 for value in samples("beeps")][RATE // 4 : RATE // 2]
    assert strength(first, 660) > 20 * strength(first, 880)
    assert not any(samples("silence"))


def test_three_digits_are_spoken_with_pauses() -> None:
    assert (heard("digits", 8), heard("digits-other", 8)) == (3, 3)


def test_vowels_resonate_where_those_of_speech_do() -> None:
    """Peterson and Barney (1952): of men, 'ee' near 270 and 2290 Hz, 'uh' near 640 and 1190 Hz."""
    three, one = spoken("three", RATE), spoken("one", RATE)
    end, middle = three[-RATE // 5 : -RATE // 20], one[RATE // 5 : RATE // 3]
    assert band(end, 200, 400) > 5 * band(end, 700, 1500)
    assert band(end, 1900, 2900) > 2 * band(end, 900, 1700)
    assert band(middle, 500, 800) > band(middle, 1500, 2300)
    assert band(middle, 900, 1400) > 3 * band(middle, 1600, 2200)


def band(values: Sequence[float], low: int, high: int) -> float:
    return max(strength(values, hertz) for hertz in range(low, high, 20))


@pytest.mark.parametrize("word", WORDS)
def test_a_digit_begins_and_ends_without_a_click(word: str) -> None:
    sound = spoken(word, RATE)
    assert 0.3 < len(sound) / RATE < 0.8
    assert max(map(abs, sound)) == 1
    assert abs(sound[0]) < 0.05
    assert abs(sound[-1]) < 0.05


@pytest.mark.parametrize(
    ("name", "answer", "right"),
    [
        ("beeps", "2", True),
        ("beeps", "I hear two beeps.", True),
        ("beeps", "Five", False),
        ("beeps-other", "There are 5 beeps", True),
        ("beeps-other", "", False),
        ("digits", "4 9 1", True),
        ("digits", "491", True),
        ("digits", "Four, nine, one.", True),
        ("digits", "4 9", False),
        ("digits", "931", False),
        ("digits-other", "9-3-1", True),
    ],
)
def test_an_answer_counts_in_words_or_digits(name: str, answer: str, right: bool) -> None:
    assert ASKED[name].answered(answer) is right
