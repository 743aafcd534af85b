"""What the numbers of a quantized weight show that was read as it should be: faults of the source itself.

Thresholds are far beyond what trained weights have, and within what a fault does: a zero point off by one at 4 bits
moves the mean of a weight by a third of its standard deviation; trained linear layers have a hundredth.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from mlx_publish.model.packed_weight import PackedWeight

_ENOUGH = 2048
"""Numbers from which on a mean says something."""
_MEAN, _STEP = 0.2, 2.4
"""Of the standard deviation; and of a range of so many of it by the steps that integers have, where that is more."""
_APART = 16.0
"""Factor between the magnitudes of a weight and of its like in other layers."""
_LIKE = 4
"""Weights of a kind from which on their median says something."""
_LEAST, _MOST = 1e-3, 1e3
"""Root mean square of a weight, times the root of its columns; trained layers have about 1."""
_NOISE = 5.0
_FLOATS = frozenset({"fp8", "mxfp4", "mxfp8", "nvfp4"})
"""Forms without zero points."""
_NAMED = 3


@dataclass(frozen=True)
class Figures:
    """What the numbers that were compared of a weight come to."""

    name: str
    form: str
    bits: float
    numbers: int
    columns: int
    mean: float
    deviation: float

    @classmethod
    def of(cls, weight: PackedWeight, rows: NDArray[np.float64]) -> Figures:
        """Compute them; numbers that are none are passed over, of which another check tells."""
        good = rows[np.isfinite(rows)]
        mean, deviation = (float(good.mean()), float(good.std())) if good.size else (0.0, 0.0)
        return cls(weight.name, weight.form, weight.bits, int(good.size), rows.shape[-1], mean, deviation)

    @property
    def size(self) -> float:
        """Return the root of the mean square."""
        return float(np.hypot(self.mean, self.deviation))

    @property
    def kind(self) -> str:
        """Return the name without numbers, which weights of other layers share."""
        return re.sub(r"\d+", "#", self.name)


def strange(all_figures: Sequence[Figures]) -> Iterator[str]:
    """Yield a sentence for each kind of thing that is strange, with the weights that show it."""
    said = [figures for figures in all_figures if figures.numbers >= _ENOUGH and figures.size]
    yield from _told([(one, one.mean / one.deviation) for one in said if _shifted(one)], _SHIFTED)
    yield from _told([(one, _scaled(one)) for one in said if not _LEAST < _scaled(one) < _MOST], _WIDE)
    kinds: dict[str, list[float]] = {}
    for one in said:
        kinds.setdefault(one.kind, []).append(one.size)
    usual = {kind: median(sizes) for kind, sizes in kinds.items() if len(sizes) >= _LIKE}
    ratios = [(one, one.size / usual[one.kind]) for one in said if one.kind in usual]
    yield from _told([(one, ratio) for one, ratio in ratios if not 1 / _APART < ratio < _APART], _OTHERS)


_SHIFTED = "their mean is far from zero (in standard deviations), as where a zero point is off by one"
_WIDE = "their numbers are of another magnitude than those of any layer (1 is usual), as where a scale is inverted"
_OTHERS = "they are many times as large or small as their like in other layers, as where a scale is another weight's"


def _shifted(one: Figures) -> bool:
    if one.form in _FLOATS or not one.deviation:
        return False
    allowed = max(_MEAN, _STEP / (2**one.bits - 1)) + _NOISE / math.sqrt(one.numbers)
    return abs(one.mean) > allowed * one.deviation


def _scaled(one: Figures) -> float:
    return one.size * math.sqrt(one.columns)


def _told(found: Sequence[tuple[Figures, float]], what: str) -> Iterator[str]:
    if found:
        more = f" and {len(found) - _NAMED:,} more" if len(found) > _NAMED else ""
        named = ", ".join(f"{one.name[:200]} ({figure:.2g})" for one, figure in found[:_NAMED])
        yield f"{named}{more}: {what}"
