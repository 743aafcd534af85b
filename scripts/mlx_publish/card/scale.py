"""Axes of a chart: from numbers to places in the picture, with ticks at round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MEASURABLE = 1e-6
"""What is below this, in nats, is rounding of the arithmetic; cards print it as 0."""
UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Tick:
    """A number on an axis as it is written, and where: `at` in the picture's units."""

    at: float
    text: str


@dataclass(frozen=True)
class Scale:
    """An axis: its `low` lies at `start` in the picture, its `high` at `end`.

    `floor` is the value that stands for all below it, which a logarithmic axis cannot show.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    floor: float | None = None

    @property
    def middle(self) -> float:
        """Its middle in the picture."""
        return (self.start + self.end) / 2

    def at(self, value: float) -> float:
        """Place in the picture, to a tenth of its unit; what lies beyond the axis is put at its end."""
        low, high = self._even(self.low), self._even(self.high)
        share = (self._even(value) - low) / (high - low)
        return round(self.start + min(1.0, max(0.0, share)) * (self.end - self.start), 1)

    def _even(self, value: float) -> float:
        """Return the value in the measure in which the axis is even."""
        return math.log10(max(value, 1e-300)) if self.log else value

    @property
    def ticks(self) -> list[Tick]:
        """Ticks at round numbers, lowest first."""
        values = _log_values(self.low, self.high) if self.log else _linear_values(self.low, self.high)
        texts = _log_texts(values) if self.log else _linear_texts(values)
        if self.floor is not None:
            texts[0] = f"≤ {texts[0]}"
        return [Tick(self.at(value), text) for value, text in zip(values, texts, strict=True)]


def byte_unit(largest: float) -> tuple[float, str]:
    """Return the decimal unit for sizes up to `largest` bytes: its number of bytes, its name."""
    return next((unit for unit in UNITS if largest >= unit[0]), UNITS[-1])


def linear(values: Sequence[float], start: float, end: float, *, zero: bool = False) -> Scale:
    """Return an even axis for the values; it begins at 0 if told to, or if that leaves room enough for them."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    if high < 1e-6:
        return Scale(0, 1, start, end)
    if low == high or zero or low <= 0.6 * high:
        return Scale(0, high * (1.3 if low == high else 1.1), start, end)
    # Sizes a few parts in a thousand apart are as good as equal: the axis makes no gulf of them.
    pad = max(0.1 * (high - low), 0.02 * high)
    return Scale(low - pad, high + pad, start, end)


def logarithmic(values: Sequence[float], start: float, end: float) -> Scale:
    """Return an axis by decades, at least one of them; what is not measurably above 0 goes to its floor."""
    shown = [value for value in values if value >= MEASURABLE]
    floor = _floor(min(shown, default=MEASURABLE)) if len(shown) < len(values) else None
    low, high = (math.log10(edge(shown, default=MEASURABLE)) for edge in (min, max))
    low = low if floor is None else math.log10(floor)
    pad = max(0.08 * (high - low), 0.1)
    if floor is not None:
        return Scale(floor, 10 ** max(high + pad, low + 2), start, end, log=True, floor=floor)
    pad = max(pad, (1 - (high - low)) / 2)
    return Scale(10 ** (low - pad), 10 ** (high + pad), start, end, log=True)


def _floor(smallest: float) -> float:
    """Return a power of ten clearly below the smallest value shown, and not below what is put there."""
    return max(MEASURABLE, float(f"1e{math.floor(math.log10(smallest / 2.5))}"))


def _linear_values(low: float, high: float) -> list[float]:
    step = _round_step((high - low) / 4.5)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _round_step(rough: float) -> float:
    """Return 1, 2 or 5 times a power of ten, the nearest one by ratio."""
    power = math.floor(math.log10(rough))
    steps = [float(f"{digit}e{power}") for digit in (1, 2, 5)] + [float(f"1e{power + 1}")]
    return min(steps, key=lambda step: abs(math.log(step / rough)))


def _linear_texts(values: Sequence[float]) -> list[str]:
    step = values[1] - values[0]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value:,.{digits}f}" for value in values]


def _log_values(low: float, high: float) -> list[float]:
    """Return the powers of ten from low to high; with their doubles and halves where they are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 2, 5)):
        values = [float(f"{digit}e{power}") for power in powers for digit in digits]
        values = [value for value in values if low * (1 - 1e-9) <= value <= high]
        if len(values) >= 3:
            break
    return values


def _log_texts(values: Sequence[float]) -> list[str]:
    """Write the numbers out, or as powers of ten where the zeros could not be counted at a glance."""
    if values[0] >= 1e-4:
        return [f"{value:,.{max(0, -math.floor(math.log10(value) + 1e-9))}f}" for value in values]
    return [_power_text(value) for value in values]


def _power_text(value: float) -> str:
    digit, power = f"{value:.0e}".split("e")
    if int(power) in (0, 1):
        return f"{value:.0f}"
    text = "10" + str(int(power)).translate(_SUPERSCRIPT)
    return text if digit == "1" else f"{digit}·{text}"
