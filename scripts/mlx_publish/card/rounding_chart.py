"""The lower part of a planned or learned variant's chart: all variants beside the curve of plain rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlx_publish.text import numbers

HEIGHT = 190
"""Of the whole part, in the picture's unit."""
LEFT, RIGHT, ABOVE, BELOW = 52.0, 384.0, 44.0, 166.0
"""The frame, from the part's own top."""
_GAP, _MARGIN, _NAMED = 8, 0.04, 4
_LEAST = 1e-6
"""What is below, in nats, has no place on the axis."""


@dataclass(frozen=True)
class Point:
    """A model by its bytes of weights and its mean KL divergence in nats."""

    label: str
    weight_bytes: int
    mean_kld: float
    here: bool = False

    @property
    def words(self) -> str:
        """Its numbers in words."""
        divergence = f"mean KL divergence {numbers.significant(self.mean_kld)} nats"
        return f"{self.label}: {numbers.size(self.weight_bytes)}, {divergence}"


@dataclass(frozen=True)
class Mark:
    """A point in the picture, to a tenth of its unit; `tick` is its name below the axis, where there is room."""

    point: Point
    x: float
    y: float
    tick: str = ""


@dataclass(frozen=True)
class Line:
    """A power of ten of the axis."""

    y: float
    name: str


@dataclass(frozen=True)
class Panel:
    """What is drawn, with all places from the picture's top."""

    top: float
    left: float
    right: float
    above: float
    below: float
    lines: Sequence[Line]
    curve: Sequence[Mark]
    others: Sequence[Mark]
    path: str


@dataclass(frozen=True)
class _Frame:
    """Where bytes and nats are in the picture: a line in bytes, and one in the logarithm of nats, of whole decades."""

    top: float
    sizes: tuple[float, float]
    low: int
    high: int

    def mark(self, point: Point, tick: str = "") -> Mark:
        """Return a point in the picture."""
        return Mark(point, self.across(point.weight_bytes), self.up(math.log10(point.mean_kld)), tick)

    def across(self, weight_bytes: float) -> float:
        """Return the place from the left."""
        first, last = self.sizes
        return round(LEFT + (weight_bytes - first) / (last - first) * (RIGHT - LEFT), 1)

    def up(self, log: float) -> float:
        """Return the place from the picture's top."""
        return round(self.top + BELOW - (log - self.low) / (self.high - self.low) * (BELOW - ABOVE), 1)

    def lines(self, power: Callable[[int], str]) -> list[Line]:
        """Return the powers of ten, of which so many have a name as there is room for."""
        step = -(-(self.high - self.low) // _NAMED)
        exponents = range(self.low, self.high + 1)
        return [Line(self.up(of), power(of) if not (of - self.low) % step else "") for of in exponents]


def panel(
    curve: Sequence[Point],
    variants: Sequence[Point],
    top: float,
    width: Callable[[str], float],
    power: Callable[[int], str],
) -> Panel | None:
    """Return the part that begins at `top`; None where nothing was measured of plain rounding.

    `width` measures a text in the picture's font, `power` writes a power of ten.
    """
    curve, variants = ([point for point in of if point.mean_kld >= _LEAST] for of in (curve, variants))
    if not curve:
        return None
    frame = _frame([*curve, *variants], top)
    ordered = sorted(curve, key=lambda point: point.weight_bytes)
    marks, end = [], -math.inf
    for point in ordered:
        x, half = frame.across(point.weight_bytes), width(point.label) / 2
        fits = x - half >= end + _GAP
        end = x + half if fits else end
        marks.append(frame.mark(point, point.label if fits else ""))
    return Panel(
        top,
        LEFT,
        RIGHT,
        top + ABOVE,
        top + BELOW,
        frame.lines(power),
        marks,
        [frame.mark(point) for point in sorted(variants, key=lambda of: (of.here, of.weight_bytes, of.label))],
        "M" + "L".join(f"{one.x:g} {one.y:g}" for one in marks),
    )


def _frame(points: Sequence[Point], top: float) -> _Frame:
    sizes, logs = [point.weight_bytes for point in points], [math.log10(point.mean_kld) for point in points]
    margin = max(_MARGIN * (max(sizes) - min(sizes)), 1)
    low = math.floor(min(logs))
    return _Frame(top, (min(sizes) - margin, max(sizes) + margin), low, max(math.ceil(max(logs)), low + 1))
