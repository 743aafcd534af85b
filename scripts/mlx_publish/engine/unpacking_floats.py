"""Weights in floats of 8 or 4 bits, each times the scale of its block, and of its tensor where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.rows import Bits
from mlx_publish.engine.small_floats import pairs, table
from mlx_publish.engine.stored_numbers import bits_from, floats_of, rows_of
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.model.packed_weight import PackedWeight

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class ScaledFloats:
    """A weight of (rows, columns), or a stack of them; `model/packed_fp8` and its neighbours say how it lies.

    Options: `float` and `scale` are kinds of numbers; `each`: every matrix of a stack has scales of its own; `packed`:
    the side along which two numbers share a byte; `first` and `step`: which rows of a matrix are the weight's;
    `global`: whether the scale of the tensor multiplies (`times`) or divides (`over`).
    """

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
        """Return its shape."""
        return tuple(self.weight.shape)

    def read(self, files: TensorFiles, first: int, last: int) -> Bits:
        """Return rows as bits, computed in float32 and rounded once: a product of two small floats is exact."""
        matrix, row = np.divmod(np.arange(first, last), self.shape[-2])
        stored = row * self._option("step", 1) + self._option("first", 0)
        with np.errstate(over="ignore", invalid="ignore"):  # whoever judges the weights finds what is not finite
            values = self._scaled(self._values(files, matrix, stored), self._scales(files, matrix, stored))
            if name := self.weight.parts.get("global_scale"):
                numbers = floats_of(files, name, 0, files.stored[name].info.size, 1).reshape(-1)
                parts = max(1, len(numbers) // prod(self.shape[:-2]))
                at = matrix * parts + row // (self.shape[-2] // parts) if len(numbers) > 1 else matrix * 0
                values = self._globally(values, numbers[at][:, None])
            return bits_from(values, self.dtype)

    def _values(self, files: TensorFiles, matrix: Indices, stored: Indices) -> NDArray[np.float32]:
        """Return what the codes of rows stand for; `stored` are rows of each matrix as it lies there."""
        rows, columns, name = self._stored_rows(), self.shape[-1], self.weight.parts["weight"]
        if self.weight.options["float"] != "e2m1":
            return np.take(table(self._kind("float")), _picked(files, name, columns, matrix * rows + stored))
        if self.weight.options["packed"] == "rows":
            pairs_of_rows = _picked(files, name, columns, matrix * (rows // 2) + stored // 2)
            return np.take(table("e2m1"), pairs_of_rows >> (stored % 2 * 4).astype(np.uint8)[:, None] & 15)
        codes = _picked(files, name, columns // 2, matrix * rows + stored)
        return np.take(pairs(), codes, axis=0).reshape(len(codes), columns)

    def _scales(self, files: TensorFiles, matrix: Indices, stored: Indices) -> NDArray[np.float32]:
        """Return the scales of rows, (rows, 1) or one for each block of columns."""
        height, width = self.weight.block
        rows = -(-self._stored_rows() // height) if height else 1
        at = (matrix if self.weight.options["each"] else matrix * 0) * rows + (stored // height if height else 0)
        columns, name = -(-self.shape[-1] // width) if width else 1, self.weight.parts["scales"]
        if (kind := self._kind("scale")) != "float":
            return np.take(table(kind), _picked(files, name, columns, at))
        low, high = int(at[0]), int(at[-1]) + 1
        scales: NDArray[np.float32] = floats_of(files, name, low, high, columns)[at - low]
        return scales

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
        parts, options = self.weight.parts, self.weight.options
        count, (rows, columns) = prod(self.shape[:-2]), self.shape[-2:]
        first, step, stored = self._option("first", 0), self._option("step", 1), self._stored_rows()
        values = self._mlx_values(arrays[parts["weight"]].view(mx.uint8), count)[:, first::step]
        scales = arrays[parts["scales"]]
        if (kind := self._kind("scale")) == "float":
            scales = scales.astype(mx.float32)
        else:
            scales = mx.array(table(kind))[scales.view(mx.uint8)]
        height, width = self.weight.block
        scales = scales.reshape(count if options["each"] else 1, -(-stored // height) if height else 1, -1)
        if height:
            scales = mx.repeat(scales, height, 1)[:, :stored][:, first::step]
        if width:
            scales = mx.repeat(scales, width, 2)[:, :, :columns]
        values = values * scales
        if name := parts.get("global_scale"):
            numbers = arrays[name].astype(mx.float32).reshape(-1)
            pieces = max(1, numbers.size // count)
            spread = mx.repeat(numbers.reshape(-1, pieces, 1), rows // pieces, 1) if numbers.size > 1 else numbers
            values = values / spread if options["global"] == "over" else values * spread
        return values.astype(self.dtype).reshape(self.shape)

    def _mlx_values(self, codes: mx.array, count: int) -> mx.array:
        """Return what the codes stand for, (matrices, rows as they lie there, columns)."""
        numbers, columns, rows = mx.array(table(self._kind("float"))), self.shape[-1], self._stored_rows()
        if self.weight.options["float"] != "e2m1":
            return numbers[codes].reshape(count, rows, columns)
        side = 2 if self.weight.options["packed"] == "rows" else 3
        codes = codes.reshape(count, rows // 2, columns) if side == 2 else codes.reshape(count, rows, columns // 2)
        return numbers[mx.stack([codes & 15, codes >> 4], axis=side)].reshape(count, rows, columns)

    def _stored_rows(self) -> int:
        """Return the rows of each matrix as it lies there."""
        return self.shape[-2] * self._option("step", 1)

    def _kind(self, option: str) -> str:
        return str(self.weight.options[option])

    def _option(self, name: str, default: int) -> int:
        return int(self.weight.options.get(name, default))


def _picked(files: TensorFiles, name: str, columns: int, rows: Indices) -> NDArray[np.uint8]:
    """Return rows of bytes by their ascending numbers, read in one piece."""
    low, high = int(rows[0]), int(rows[-1]) + 1
    read: NDArray[np.uint8] = rows_of(files, name, low, high, columns).view(np.uint8)
    return read if high - low == len(rows) and rows[-1] - rows[0] == len(rows) - 1 else read[rows - low]
