"""Trials of a measurement: when they have warmed up, and when they deserve to be printed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

AGREE = 0.05
"""Two trials agree when they differ by this share of the larger one at most."""
_FALLING = -0.7  # rank correlation from which on a series counts as falling and not as scattered


def agree(one: float, other: float) -> bool:
    """Whether two trials of a rate agree."""
    return abs(one - other) <= AGREE * max(abs(one), abs(other))


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


def objection(series: Sequence[float], max_drift: float, max_spread: float) -> str:
    """Why a series of rates must not be printed; empty where it may."""
    if (lost := fall(series)) > max_drift:
        return f"drift: it fell by {lost:.0%} from {series[0]:.1f} to {series[-1]:.1f}"
    if (wide := spread(series)) > max_spread:
        return f"spread: {min(series):.1f} to {max(series):.1f}, {wide:.0%} of the median"
    return ""


def summary(series: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {"median": statistics.median(series), "lowest": min(series), "highest": max(series)}


def _rank_correlation(series: Sequence[float]) -> float:
    """Spearman's, of the values with their order in time: 1 rises all the way, -1 falls all the way."""
    count = len(series)
    ranks = [sum(other < value for other in series) + (series.count(value) - 1) / 2 for value in series]
    middle = (count - 1) / 2
    above = sum((rank - middle) * (number - middle) for number, rank in enumerate(ranks))
    of_ranks = sum((rank - middle) ** 2 for rank in ranks)
    of_times = sum((number - middle) ** 2 for number in range(count))
    return above / float(of_ranks * of_times) ** 0.5 if of_ranks else 0.0
