"""Trials of a measurement: when they have warmed up, and when they are steady enough to be published."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

AGREE = 0.05
"""Two trials agree when they differ by this share of the larger one at most."""
_FALLING = -0.7  # rank correlation from which on a series counts as falling and not as scattered


@dataclass(frozen=True)
class Summary:
    """What is printed of a series."""

    median: float
    lowest: float
    highest: float


def agree(rate: float, other: float) -> bool:
    """Tell whether two trials of a rate agree."""
    return abs(rate - other) <= AGREE * max(abs(rate), abs(other))


def settled(series: Sequence[float]) -> Sequence[float]:
    """Leave out what came before the first two successive trials that agree; all of it where none do."""
    for number in range(len(series) - 1):
        if agree(series[number], series[number + 1]):
            return series[number:]
    return series


def fall(series: Sequence[float]) -> float:
    """How far a rate fell from the first to the last trial, as a share of the first; 0 where it only scatters."""
    if len(series) < 3 or _rank_correlation(series) > _FALLING:
        return 0.0
    return max(0.0, (series[0] - series[-1]) / series[0])


def spread(series: Sequence[float]) -> float:
    """Distance of the lowest from the highest trial, as a share of the median."""
    return (max(series) - min(series)) / statistics.median(series)


def deviation(series: Sequence[float]) -> float:
    """Distance of the median from the trial farthest from it, as a share of the median."""
    middle = statistics.median(series)
    return max(abs(rate - middle) for rate in series) / middle


def objection(series: Sequence[float], max_drift: float, max_spread: float) -> str:
    """Return why a series of rates must not be published; empty where it may be."""
    if (lost := fall(series)) > max_drift:
        return f"drift: it fell by {lost:.0%} from {series[0]:.1f} to {series[-1]:.1f}"
    if (wide := spread(series)) > max_spread:
        return f"spread: {min(series):.1f} to {max(series):.1f}, {wide:.0%} of the median"
    return ""


def summary(series: Sequence[float]) -> Summary:
    """Return median, lowest and highest."""
    return Summary(statistics.median(series), min(series), max(series))


def _rank_correlation(series: Sequence[float]) -> float:
    """Spearman's, of the values with their order in time: 1 rises all the way, -1 falls all the way."""
    count = len(series)
    ranks = [sum(other < value for other in series) + (series.count(value) - 1) / 2 for value in series]
    middle = (count - 1) / 2
    above = sum((rank - middle) * (number - middle) for number, rank in enumerate(ranks))
    of_ranks = sum((rank - middle) ** 2 for rank in ranks)
    of_times = sum((number - middle) ** 2 for number in range(count))
    return above / float(of_ranks * of_times) ** 0.5 if of_ranks else 0.0
