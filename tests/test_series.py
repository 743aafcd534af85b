"""When trials have warmed up, and when a series of them may be printed."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from mlx_publish.evidence.measurements import LengthSpec, headline
from mlx_publish.machine.series import AGREE, Summary, agree, fall, objection, settled, spread, summary
from mlx_publish.recipes.recipe import SpeedTest
from samples import length

LIMITS = SpeedTest()
STEADY: list[list[float]] = [
    [100.0] * 5,
    [100.0, 101.0, 99.5, 100.5, 100.2],
    # One slow trial among good ones scatters, and is no fall.
    [100.0, 92.0, 101.0, 100.0, 99.0],
    # It falls all the way, and by less than anyone would see.
    [100.0, 99.0, 98.0, 97.0, 96.0],
    # It rises: a machine that warms up is not one that tires.
    [100.0, 102.0, 104.0, 106.0, 108.0],
    [100.0, 100.0, 100.0, 99.0, 99.0],
    [21.1, 21.0],
    [5.0],
]


def judged(series: Sequence[float]) -> str:
    """By the limits of a recipe that says nothing."""
    return objection(series, LIMITS.max_drift, LIMITS.max_spread)


def test_the_first_slow_trial_is_warmed_away() -> None:
    assert settled([60, 2021, 2019]) == [2021, 2019]
    assert judged(settled([60, 2021, 2019])) == ""
    assert judged([60, 2021, 2019]).startswith("spread: ")


def test_a_machine_that_tires_is_refused_with_the_word_drift() -> None:
    assert judged([21.1, 18.9, 18.8, 17.5]) == "drift: it fell by 17% from 21.1 to 17.5"
    # Warming up does not excuse it: two of them agree, and the rest falls all the same.
    assert settled([21.1, 18.9, 18.8, 17.5]) == [18.9, 18.8, 17.5]
    assert judged(settled([21.1, 18.9, 18.8, 17.5])) == "drift: it fell by 7% from 18.9 to 17.5"


@pytest.mark.parametrize("series", STEADY)
def test_a_steady_series_may_be_printed(series: list[float]) -> None:
    assert judged(series) == ""


@pytest.mark.parametrize(
    ("series", "said"),
    [
        ([100.0, 80.0, 103.0, 84.0, 99.0], "spread: 80.0 to 103.0, 23% of the median"),
        ([100.0, 50.0], "spread: 50.0 to 100.0, 67% of the median"),
        ([50.0, 100.0], "spread: 50.0 to 100.0, 67% of the median"),
        # It rises too far: no drift, and no number either.
        ([17.5, 18.8, 18.9, 21.1], "spread: 17.5 to 21.1, 19% of the median"),
        # Ties do not hide a fall.
        ([100.0, 100.0, 90.0, 90.0, 90.0], "drift: it fell by 10% from 100.0 to 90.0"),
        ([100.0, 97.0, 98.0, 93.0, 92.0], "drift: it fell by 8% from 100.0 to 92.0"),
    ],
)
def test_an_unsteady_series_is_refused_and_the_word_says_why(series: list[float], said: str) -> None:
    assert judged(series) == said


def test_the_limits_themselves_are_allowed() -> None:
    assert objection([100.0, 98.0, 96.0], 0.04, 1) == ""
    assert objection([100.0, 98.0, 96.0], 0.0399, 1) == "drift: it fell by 4% from 100.0 to 96.0"
    assert objection([90.0, 110.0, 100.0], 1, 0.2) == ""
    assert objection([90.0, 110.0, 100.0], 1, 0.199) == "spread: 90.0 to 110.0, 20% of the median"


def test_drift_is_named_before_spread() -> None:
    assert judged([100.0, 70.0, 50.0]) == "drift: it fell by 50% from 100.0 to 50.0"


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ([100.0, 90.0, 80.0], 0.2),
        ([80.0, 90.0, 100.0], 0.0),
        ([100.0, 100.0, 100.0], 0.0),
        # Two are no series.
        ([100.0, 50.0], 0.0),
        ([100.0], 0.0),
        # The last is no lower than the first.
        ([90.0, 100.0, 95.0, 94.0, 90.0], 0.0),
        # From high to low and back again.
        ([100.0, 80.0, 70.0, 80.0, 100.0], 0.0),
    ],
)
def test_fall(series: list[float], expected: float) -> None:
    assert fall(series) == pytest.approx(expected)


def test_what_scatters_at_random_is_seldom_taken_for_a_fall() -> None:
    """Five trials come in 120 orders, and few of them look as if they fell."""
    dice = random.Random(5)  # noqa: S311  no secret
    falls = sum(fall(dice.sample([100.0, 99.0, 98.0, 97.0, 96.0], 5)) > 0 for _ in range(1000))
    assert falls < 150


def test_agree() -> None:
    assert agree(100, 100 * (1 - AGREE))
    assert not agree(100, 100 * (1 - AGREE) - 0.01)
    assert agree(95, 100) is agree(100, 95) is True
    assert agree(0, 0)
    assert not agree(60, 2021)


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ([1.0, 2.0, 4.0, 8.0], [1.0, 2.0, 4.0, 8.0]),  # none agree: all of it, so that the spread tells
        ([1.0, 50.0, 100.0, 101.0, 60.0], [100.0, 101.0, 60.0]),
        ([100.0, 100.0, 1.0], [100.0, 100.0, 1.0]),
        ([7.0], [7.0]),
        ([], []),
    ],
)
def test_settled(series: list[float], expected: list[float]) -> None:
    assert list(settled(series)) == expected


def test_spread_and_summary() -> None:
    assert spread([90.0, 100.0, 120.0]) == pytest.approx(0.3)
    assert spread([5.0]) == 0
    assert summary([3.0, 1.0, 2.0]) == Summary(median=2.0, lowest=1.0, highest=3.0)
    assert summary([4.0, 1.0]) == Summary(median=2.5, lowest=1.0, highest=4.0)


@pytest.mark.parametrize(
    ("prompts", "taken"),
    [
        ([128, 512, 2048], 512),
        ([128], 128),
        ([128, 2048], 128),
        ([2048, 400, 700], 400),
        ([8], 8),
        ([1024, 2048], 1024),
    ],
)
def test_the_headline_is_the_length_next_to_512(prompts: list[int], taken: int) -> None:
    lengths = [LengthSpec.model_validate(length(prompt, 1.0)) for prompt in prompts]
    assert headline(lengths) is lengths[prompts.index(taken)]
