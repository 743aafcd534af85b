"""Weights in floats of 8 or 4 bits, each times the scale of its block, and of its tensor where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.float_rows import FloatRows, option, stored_rows
from mlx_publish.engine.rows import Bits
from mlx_publish.engine.small_floats import pairs, table
from mlx_publish.engine.stored_numbers import bits_from, floats_from, floats_of
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.engine.unpacked import Unpacked


@dataclass(frozen=True)
class ScaledFloats(Unpacked):
    """A weight of (rows, columns), or a stack of them.

    Options, beside those of `FloatRows`: `float` and `scale` are kinds of numbers; `global`: whether the scale of the
    tensor multiplies (`times`) or divides (`over`).
    """

    def read(self, files: TensorFiles, first: int, last: int) -> Bits:
        """Return rows as bits, computed in float32 and rounded once: a product of two small floats is exact."""
        rows = FloatRows(self.weight, files, first, last)
        with np.errstate(over="ignore", invalid="ignore"):  # whoever judges the weights finds what is not finite
            values = self._scaled(self._values(rows), self._scales(rows))
            if name := self.weight.parts.get("global_scale"):
                values = self._globally(values, self._global_scales(name, rows))
            return bits_from(values, self.dtype)

    def _values(self, rows: FloatRows) -> NDArray[np.float32]:
        """Return what the codes of rows stand for."""
        codes, packed = rows.codes(), self.weight.options.get("packed")
        if packed == "columns":
            return np.take(pairs(), codes, axis=0).reshape(len(codes), self.shape[-1])
        if packed == "rows":
            codes = np.right_shift(codes, rows.stored[:, None] % 2 * 4).astype(np.uint8) & np.uint8(15)
        return np.take(table(self._kind("float")), codes)

    def _scales(self, rows: FloatRows) -> NDArray[np.float32]:
        """Return the scales of rows, (rows, blocks of columns)."""
        scales, kind = rows.scales(), self._kind("scale")
        if kind == "float":
            return floats_from(scales, rows.files.stored[self.weight.parts["scales"]].info.dtype)
        return np.take(table(kind), scales)

    def _global_scales(self, name: str, rows: FloatRows) -> NDArray[np.float32]:
        """Return the scale of the tensor, or of a part of an expert, for each row, (rows, 1)."""
        numbers = floats_of(rows.files, name, 0, rows.files.stored[name].info.size, 1)
        if len(numbers) == 1:
            return numbers
        parts = len(numbers) // prod(self.shape[:-2])
        places = rows.matrix * parts + rows.row // (self.shape[-2] // parts)
        return np.take(numbers, places, axis=0)

    def _scaled(self, values: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.float32]:
        width, (count, columns) = self.weight.block[1], values.shape
        if width > 1 and columns % width == 0:
            blocks = values.reshape(count, columns // width, width)
            blocks *= scales[:, :, None]
        else:
            values *= scales.repeat(width, axis=1)[:, :columns] if width > 1 else scales
        return values

    def _globally(self, values: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.float32]:
        return values / scales if self.weight.options["global"] == "over" else values * scales

    def array(self, arrays: Mapping[str, mx.array]) -> mx.array:
        """Return it as MLX computes it."""
        parts, count = self.weight.parts, prod(self.shape[:-2])
        first, step = option(self.weight, "first", 0), option(self.weight, "step", 1)
        values = self._mlx_values(arrays[parts["weight"]].view(mx.uint8), count)[:, first::step]
        values = values * self._mlx_scales(arrays[parts["scales"]], count)
        if name := parts.get("global_scale"):
            numbers = arrays[name].astype(mx.float32).reshape(-1)
            if numbers.size > 1:
                numbers = numbers.reshape(count, -1, 1)
                numbers = mx.repeat(numbers, self.shape[-2] // numbers.shape[1], 1)
            values = values / numbers if self.weight.options["global"] == "over" else values * numbers
        return values.astype(self.dtype).reshape(self.shape)

    def _mlx_values(self, codes: mx.array, count: int) -> mx.array:
        """Return what the codes stand for, (matrices, rows as they lie there, columns)."""
        numbers, columns, rows = mx.array(table(self._kind("float"))), self.shape[-1], stored_rows(self.weight)
        packed = self.weight.options.get("packed")
        if packed is None:
            return numbers[codes].reshape(count, rows, columns)
        codes = codes.reshape((count, rows // 2, columns) if packed == "rows" else (count, rows, columns // 2))
        halves = mx.stack([codes & 15, codes >> 4], axis=2 if packed == "rows" else 3)
        return numbers[halves].reshape(count, rows, columns)

    def _mlx_scales(self, scales: mx.array, count: int) -> mx.array:
        """Return the scale of each number, or what MLX spreads over them."""
        kind, rows = self._kind("scale"), stored_rows(self.weight)
        wide = scales.astype(mx.float32) if kind == "float" else mx.array(table(kind))[scales.view(mx.uint8)]
        height, width = self.weight.block
        wide = wide.reshape(count if self.weight.options["each"] else 1, -(-rows // height) if height else 1, -1)
        if height:
            first, step = option(self.weight, "first", 0), option(self.weight, "step", 1)
            wide = mx.repeat(wide, height, 1)[:, :rows][:, first::step]
        return mx.repeat(wide, width, 2)[:, :, : self.shape[-1]] if width else wide

    def _kind(self, name: str) -> str:
        return str(self.weight.options[name])
