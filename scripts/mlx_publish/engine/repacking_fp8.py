"""Weights in 8-bit floats whose scales are powers of two, as mxfp8: the same bytes, and exponents beside them."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.repacked import Repack, RepackedPart
from mlx_publish.engine.rounding import Precision
from mlx_publish.engine.stored_numbers import floats_of, rows_of
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.model.packed_weight import PackedWeight

_BIAS, _LEAST, _MOST = 127, -126, 127
"""Of e8m0; a byte of 0 would be 2^-127, which is below the normal numbers that MLX computes with."""


def fp8_as_mxfp8(weight: PackedWeight, packing: Precision, _dtype: mx.Dtype, files: TensorFiles) -> Repack | str:
    """Return how a weight becomes mxfp8; why not, where a scale is no power of two. All scales are read."""
    name = weight.parts["scales"]
    stored = files.stored[name].info
    rows = stored.size if len(stored.shape) < 2 else stored.size // stored.shape[-1]
    scales = floats_of(files, name, 0, rows)
    exponents = exponents_of(scales)
    if exponents is None:
        return "their scales are no powers of two"
    return Fp8AsMxfp8(weight, packing.group_size, exponents)


def exponents_of(scales: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """Return the bytes of e8m0 for powers of two, of the same shape; None where a scale is none or beyond them."""
    fraction, exponent = np.frexp(scales)
    exponent = exponent - 1
    if not ((fraction == 0.5) & (exponent >= _LEAST) & (exponent <= _MOST)).all():
        return None
    return (exponent + _BIAS).astype(np.uint8)


@dataclass(frozen=True)
class Fp8AsMxfp8:
    """A weight of (rows, columns) bytes in e4m3 and its exponents, of the shape of its scales."""

    weight: PackedWeight
    group_size: int
    exponents: NDArray[np.uint8]

    @property
    def name(self) -> str:
        """Return the name of the weight."""
        return self.weight.name

    def read(self, files: TensorFiles, first: int, last: int) -> RepackedPart:
        """Return rows: the source's bytes, and for each group the exponent of its block."""
        codes = rows_of(files, self.weight.parts["weight"], first, last)
        return RepackedPart([codes.view(np.uint32), self._exponents(first, last)])

    def _exponents(self, first: int, last: int) -> NDArray[np.uint8]:
        groups, (rows_each, columns_each) = self.weight.shape[-1] // self.group_size, self.weight.block
        if not columns_each:
            one = self.exponents.reshape(-1, 1)
            one = one[first:last] if rows_each else one
            return np.ascontiguousarray(np.broadcast_to(one, (last - first, groups)))
        wide = self.exponents.repeat(columns_each // self.group_size, axis=1)[:, :groups]
        return np.ascontiguousarray(wide[np.arange(first, last) // rows_each])
