"""Weights in 8-bit floats, each times the scale of its block."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.rows import Bits
from mlx_publish.engine.stored_numbers import bits_from, floats_of, rows_of
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.model.packed_weight import PackedWeight

_FORMATS = {"e4m3": (4, 3, 7), "e5m2": (5, 2, 15)}
"""Bits of the exponent and of the fraction, and the bias of the exponent."""


@functools.cache
def table(kind: str) -> NDArray[np.float32]:
    """Return the number that each byte stands for, float32 (256,); E4M3 has NaN and no infinity, E5M2 has both.

    Source: OCP 8-bit floating point specification, the variants that PyTorch calls float8_e4m3fn and float8_e5m2.
    """
    exponent_bits, fraction_bits, bias = _FORMATS[kind]
    codes = np.arange(256)
    exponent = codes >> fraction_bits & (1 << exponent_bits) - 1
    fraction = (codes & (1 << fraction_bits) - 1) / (1 << fraction_bits)
    values = np.where(exponent > 0, (1 + fraction) * 2.0 ** (exponent - bias), fraction * 2.0 ** (1 - bias))
    if kind == "e4m3":
        values[codes & 0x7F == 0x7F] = np.nan
    else:
        values[codes & 0x7F == 0x7C] = np.inf
        values[codes & 0x7F > 0x7C] = np.nan
    return np.where(codes >> 7, -values, values).astype(np.float32)


@dataclass(frozen=True)
class Fp8:
    """A weight of (rows, columns) bytes; its scales are one, one a row, or one a block."""

    weight: PackedWeight
    dtype: mx.Dtype

    @property
    def name(self) -> str:
        """Return the name of the weight."""
        return self.weight.name

    @property
    def takes(self) -> tuple[str, ...]:
        """Return the names of bytes and scales."""
        return tuple(self.weight.parts.values())

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (rows, columns)."""
        return tuple(self.weight.shape)

    def read(self, files: TensorFiles, first: int, last: int) -> Bits:
        """Return rows as bits, computed in float32 and rounded once."""
        parts, columns = self.weight.parts, self.shape[1]
        values = table(str(self.weight.options["float"]))[rows_of(files, parts["weight"], first, last)]
        return bits_from(values * self._scales(files, first, last, columns), self.dtype)

    def _scales(self, files: TensorFiles, first: int, last: int, columns: int) -> NDArray[np.float32]:
        """Return the scale of each number of some rows, or what numpy spreads over them."""
        name, (rows_each, columns_each) = self.weight.parts["scales"], self.weight.block
        if not rows_each:
            return floats_of(files, name, 0, 1).reshape(1, 1)
        if not columns_each:
            return floats_of(files, name, 0, self.shape[0]).reshape(-1)[first:last, None]
        scales = floats_of(files, name, first // rows_each, (last - 1) // rows_each + 1)
        wide = scales.repeat(columns_each, axis=1)[:, :columns]
        return wide[np.arange(first, last) // rows_each - first // rows_each]

    def array(self, arrays: Mapping[str, mx.array]) -> mx.array:
        """Return it as MLX computes it."""
        parts, (rows, columns) = self.weight.parts, self.shape
        scales = arrays[parts["scales"]].astype(mx.float32)
        values = mx.array(table(str(self.weight.options["float"])))[arrays[parts["weight"]].view(mx.uint8)]
        rows_each, columns_each = self.weight.block
        if rows_each and columns_each:
            scales = mx.repeat(mx.repeat(scales, rows_each, 0)[:rows], columns_each, 1)[:, :columns]
        else:
            scales = scales.reshape(-1, 1)
        return (values * scales).astype(self.dtype)
