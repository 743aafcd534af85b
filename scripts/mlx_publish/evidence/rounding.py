"""The curve of plain rounding: what a model has in bytes and loses in fidelity at each width of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mlx_publish.evidence.quantization import Gain, RoundingPoint

NO_LOSS = 1e-7
"""Nats; what is below is rounding of the arithmetic, and has no logarithm worth its name."""
_NORMAL = 1.96
"""Standard errors of a 95 % interval, where the measurement names no other number."""


class Gained(Protocol):
    """A gain, as it was measured or as evidence has it."""

    @property
    def rounding_kld(self) -> float:
        """Of plain rounding at the same bytes."""

    @property
    def difference(self) -> float:
        """Below zero where the variant is better."""

    @property
    def difference_error(self) -> float:
        """Its standard error."""

    @property
    def error_factor(self) -> float | None:
        """Standard errors of a 95 % interval."""


def gain_noise(gain: Gained) -> float:
    """Return half the width of the difference's 95 % interval, in nats."""
    return (gain.error_factor or _NORMAL) * gain.difference_error


def gain_in_words(gain: Gained) -> str:
    """Return `51 % less KLD than plain rounding at equal bytes`."""
    share = abs(gain.difference) / gain.rounding_kld if gain.rounding_kld > 0 else 0.0
    if gain.difference < 0:
        return f"{share_in_words(share)} less KLD than plain rounding at equal bytes"
    more = f"{share_in_words(share)} more" if share else "no less"
    return f"{more} KLD than plain rounding at equal bytes"


def share_in_words(share: float) -> str:
    """Return `51 %`, `0.4 %` or `under 0.1 %`: a gain or a loss is never written as none."""
    percent = 100 * share
    return "under 0.1 %" if percent < 0.1 else f"{percent:.1f} %" if percent < 1 else f"{percent:.0f} %"


@dataclass(frozen=True)
class Width:
    """Plain rounding at one width, whether it was measured or not: its bytes follow from the model's shapes."""

    label: str
    """`4bit`."""
    weight_bytes: int
    bits_per_weight: float


@dataclass(frozen=True)
class RoundingCurve:
    """All widths of a source, and what was measured of some."""

    widths: Sequence[Width]
    """Smallest first."""
    points: Mapping[str, RoundingPoint] = field(default_factory=dict)
    """By label."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Of the files with their values by position, by label."""
    broken: Sequence[str] = ()
    """Labels of those that give no numbers."""

    def neighbours(self, weight_bytes: int) -> tuple[Width, ...]:
        """Return the widths that a variant of so many bytes is compared with.

        Those on both sides; one alone where it has the same bytes, where all have more, or where all have less.
        """
        equal = [width for width in self.widths if width.weight_bytes == weight_bytes]
        if equal:
            return (equal[-1],)
        below = [width for width in self.widths if width.weight_bytes < weight_bytes]
        above = [width for width in self.widths if width.weight_bytes > weight_bytes]
        if below and above:
            return below[-1], above[0]
        return tuple(above[:1] or below[-1:])

    def surrounds(self, weight_bytes: int) -> bool:
        """Return whether a variant of so many bytes lies between two widths, or has the bytes of one."""
        sizes = [width.weight_bytes for width in self.widths]
        return bool(sizes) and min(sizes) <= weight_bytes <= max(sizes)

    def without(self, labels: Sequence[str]) -> RoundingCurve:
        """Return the curve with what was measured of these widths forgotten."""
        points = {label: point for label, point in self.points.items() if label not in labels}
        return RoundingCurve(self.widths, points, {label: self.sha256[label] for label in points}, self.broken)

    @property
    def measured(self) -> list[RoundingPoint]:
        """The points, smallest first."""
        return sorted(self.points.values(), key=lambda point: point.weight_bytes)


@dataclass(frozen=True)
class GainOrder:
    """A variant beside its neighbours, each with the file of its values by position."""

    label: str
    weight_bytes: int
    values: str
    neighbours: Sequence[RoundingPoint]
    """One or two, smallest first."""
    neighbour_values: Sequence[str]
    curve: Sequence[RoundingPoint]
    """All that was measured, for the chart."""


@dataclass(frozen=True)
class Gains:
    """By the label of the variant; None where a number is none."""

    gains: Mapping[str, Gain | None]
