"""Weights in small floats as MLX's own forms of them: the same bytes, and a byte for the scale of each group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.float_rows import FloatRows
from mlx_publish.engine.repacked import Repack, RepackedPart
from mlx_publish.engine.rounding import Precision
from mlx_publish.engine.small_floats import table
from mlx_publish.engine.stored_numbers import floats_from, floats_of, rows_of
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.model.packed_weight import PackedWeight

Codes = NDArray[np.uint8]
_BIAS, _LEAST, _MOST = 127, -126, 127
"""Of E8M0; a byte of 0 would be 2^-127, which is below the normal numbers that MLX computes with."""
_PIECE = 1 << 20


def in_powers(weight: PackedWeight, packing: Precision, _dtype: mx.Dtype, files: TensorFiles) -> Repack | str:
    """Return how a weight becomes mxfp8 or mxfp4; why not, where a scale is no power of two. All scales are read."""
    name = weight.parts["scales"]
    kind = files.stored[name].info.dtype if weight.options["scale"] == "float" else ""
    for numbers in _all(name, files):
        if kind and exponents_of(floats_from(numbers, kind)) is None:
            return "their scales are no powers of two"
        if not kind and (numbers == 255).any():
            return "their scales are no numbers"

    def coded(scales: NDArray[Any]) -> Codes:
        exponents = exponents_of(floats_from(scales, kind)) if kind else scales.view(np.uint8)
        if exponents is None:
            raise ValueError("the scales were others a moment ago")
        return exponents

    return RepackedFloats(weight, packing.group_size, coded)


def in_e4m3(weight: PackedWeight, packing: Precision, _dtype: mx.Dtype, files: TensorFiles) -> Repack | str:
    """Return how a weight becomes nvfp4, its global scale within the scales of groups; why not, where that rounds.

    MLX has a global scale for a stack of experts alone, and not in this form (ml-explore/mlx, `QuantizedLinear`).
    """
    whole, numbers = np.float32(1), table("e4m3")
    if name := weight.parts.get("global_scale"):
        if files.stored[name].info.size != 1:
            return "their experts have scales of their own"
        whole = floats_of(files, name, 0, 1, 1)[0, 0]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        wanted = numbers.astype(np.float64)
        wanted = wanted / whole if weight.options.get("global") == "over" else wanted * whole
    # The places of the same numbers, where there are any.
    known = {float(number): code for code, number in reversed(list(enumerate(numbers)))}
    other = np.array([known.get(float(number), -1) for number in wanted])
    used = np.zeros(256, bool)
    for part in _all(weight.parts["scales"], files):
        used[part] = True
    if (other[used] < 0).any():
        return "their scales times that of the tensor are no floats of E4M3"
    codes = other.astype(np.uint8)
    return RepackedFloats(weight, packing.group_size, lambda scales: codes[scales])


def exponents_of(scales: NDArray[np.float32]) -> Codes | None:
    """Return the bytes of E8M0 for powers of two, of the same shape; None where a scale is none or beyond them."""
    fraction, exponent = np.frexp(scales)
    exponent = exponent - 1
    if not ((fraction == 0.5) & (exponent >= _LEAST) & (exponent <= _MOST)).all():
        return None
    return (exponent + _BIAS).astype(np.uint8)


def _all(name: str, files: TensorFiles) -> list[NDArray[Any]]:
    """Return all numbers of a tensor as they are stored, in pieces."""
    size = files.stored[name].info.size
    return [rows_of(files, name, first, min(size, first + _PIECE), 1) for first in range(0, size, _PIECE)]


@dataclass(frozen=True)
class RepackedFloats:
    """A weight whose numbers are in the order of MLX: along the columns, the first in the lowest bits."""

    weight: PackedWeight
    group_size: int
    coded: Callable[[NDArray[Any]], Codes]
    """Makes MLX's byte of scales as they are stored."""

    @property
    def name(self) -> str:
        """Return the name of the weight."""
        return self.weight.name

    def read(self, files: TensorFiles, first: int, last: int) -> RepackedPart:
        """Return rows: the source's bytes, and for each group the scale of its block."""
        rows = FloatRows(self.weight, files, first, last)
        groups, width = self.weight.shape[-1] // self.group_size, self.weight.block[1]
        scales = self.coded(rows.scales()).repeat(width // self.group_size or groups, axis=1)[:, :groups]
        return RepackedPart([np.ascontiguousarray(rows.codes()).view(np.uint32), np.ascontiguousarray(scales)])
