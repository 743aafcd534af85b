"""Errors of means over positions that are not independent: those of a passage resemble each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from mlx_publish.text.numbers import significant

LEAST = 5
"""Passages below which nothing is known of how far passages are apart."""
_SHARE = 0.95
_STEPS = 4000


@dataclass(frozen=True)
class Mean:
    """A mean over positions, with its standard error."""

    value: float
    error: float
    factor: float
    """The 95 % interval reaches so many standard errors to both sides."""

    @property
    def noise(self) -> float:
        """Half the width of the 95 % interval."""
        return self.error * self.factor

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of a mean that is never negative."""
        return interval(self.value, self.error, self.factor)


def clustered(sums: Sequence[float], counts: Sequence[int]) -> Mean:
    """Return the mean over all positions from each passage's sum and number of positions.

    The error is the jackknife's: each passage is left out in turn, which needs no model of what positions have in
    common, and allows for passages of unequal length (CR3 of the literature on clusters). The factor is the quantile of
    Student's distribution with Bell and McCaffrey's degrees of freedom: passages - 1 where all are of one length, fewer
    where some are much longer than others.
    """
    total = sum(counts)
    mean = sum(sums) / total
    if len(counts) < 2:
        return Mean(mean, 0.0, t_95(1))
    shares = [count / total for count in counts]
    moved = ((sum_ - mean * count) / (total - count) for sum_, count in zip(sums, counts, strict=True))
    error = math.sqrt(sum(step * step for step in moved))
    return Mean(mean, error, t_95(round(_freedom(shares), 2)))


def _freedom(shares: Sequence[float]) -> float:
    """Return Satterthwaite's degrees of freedom of the jackknife, for positions of one variance.

    tr(B S)^2 / tr(B S B S): S, the covariance of the residuals of passages, is diag(w) - w w', B is 1 / (1 - w)^2.
    """
    scales = [1 / (1 - share) ** 2 for share in shares]
    outer = [scale * share * share for scale, share in zip(scales, shares, strict=True)]
    inner = [scale * share * (1 - share) for scale, share in zip(scales, shares, strict=True)]
    squares = math.fsum(value * value for value in inner) + math.fsum(outer) ** 2
    squares -= math.fsum(value * value for value in outer)
    return max(1.0, math.fsum(inner) ** 2 / squares)


def interval(mean: float, error: float, factor: float) -> tuple[float, float]:
    """Return the 95 % interval of the mean of what is never negative, as KL divergence.

    It is symmetric in the logarithm: KL divergence is skewed, and a symmetric interval lies below the truth too often.
    """
    if not mean > 0:
        return mean, mean
    wide = math.exp(min(factor * error / mean, 700.0))
    return mean / wide, mean * wide


def unseen(noise: float | None) -> str:
    """Return the clause that says which differences in mean KLD the text cannot tell; empty where that is all or 0."""
    below = significant(noise or 0.0, 2)
    return "" if below == "0" else f"differences below {below} are inside the noise of this text"


@lru_cache
def t_95(freedom: float) -> float:
    """Return what Student's t is within at 95 %, either sign, with so many degrees of freedom, at least 1.

    With t = sqrt(freedom) tan(angle) the density becomes cos(angle)^(freedom - 1), which is integrated.
    """
    end = min(math.pi / 2, 12 / math.sqrt(freedom))
    step = end / _STEPS
    heights = [math.cos(number * step) ** (freedom - 1) for number in range(_STEPS + 1)]
    pieces = [step * (low + high) / 2 for low, high in pairwise(heights)]
    wanted, reached = _SHARE * math.fsum(pieces), 0.0
    for number, piece in enumerate(pieces):
        if reached + piece >= wanted:
            return math.sqrt(freedom) * math.tan((number + (wanted - reached) / piece) * step)
        reached += piece
    raise ArithmeticError(f"no quantile of t with {freedom} degrees of freedom")
