"""Rows of a weight that stand for all of it: drawn by what their errors weigh, and rounded at each rung."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.making import cpu_stream
from mlx_publish.engine.rounding import Precision, quantize_rows_each
from mlx_publish.engine.rows import INTEGERS, Bits, bits_of
from mlx_publish.engine.weighted import quantize_rows
from mlx_publish.evidence.sensitivities import Rung

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Sampled:
    """Rows of a weight that are rounded at each rung, and what their errors weigh."""

    rows: Bits
    """(rows, columns), the bits of `dtype`."""
    values: Floats
    """The same as numbers."""
    dtype: mx.Dtype
    """That variants are stored in."""
    terms: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]
    """Of the information: by row and by column; their product is that of a weight."""
    importance: Floats | None
    """By which scales are chosen; None for MLX's own."""
    rungs: Sequence[Rung]

    def error(self, rung: Rung) -> float:
        """Return the sum over the whole weight of squared errors, by the information."""
        bits, group = rung
        precision = Precision(group, bits, "affine")
        with mx.stream(cpu_stream()):
            if self.importance is None:
                made = quantize_rows_each(self.rows, self.dtype, [precision])[0]
            else:
                made = quantize_rows(self.rows, self.dtype, precision, self.importance)
            codes, *lines = (mx.array(part) for part in made)
            scales, biases = (line.view(self.dtype).astype(mx.float32) for line in lines)
            rounded = np.array(mx.dequantize(codes.view(mx.uint32), scales, biases, group, bits))
        errors = np.square((rounded - self.values).astype(np.float64))
        return float(sum(by_row @ errors @ by_column for by_row, by_column in self.terms))


def integers(rows: mx.array) -> Bits:
    """Return the bits of rows as whole numbers."""
    mx.eval(rows)
    return bits_of(rows).view(INTEGERS[rows.dtype.size])


def drawn(masses: NDArray[np.float64], count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Draw rows by their share of the masses, at equal steps of the sum; return them and how often each counts."""
    sums = np.cumsum(np.maximum(masses, masses.sum() * 1e-12 / len(masses) + 1e-300))
    step = sums[-1] / count
    rows = np.minimum(np.searchsorted(sums, (np.arange(count) + 0.5) * step), len(masses) - 1)
    chosen, times = np.unique(rows, return_counts=True)
    own = np.diff(sums, prepend=0.0)[chosen]
    return chosen, times * step / own
