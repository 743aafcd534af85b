"""Ternary weights of BitNet, four rows to a byte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.rows import Bits
from mlx_publish.engine.stored_numbers import bits_from, floats_of, rows_of
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.engine.unpacked import Unpacked
from mlx_publish.engine.unpacking_integers import misread

_UNUSED = 3


@dataclass(frozen=True)
class BitNet(Unpacked):
    """A weight of (rows, columns) whose numbers are -1, 0 and 1 times, or by, its scale."""

    def read(self, files: TensorFiles, first: int, last: int) -> Bits:
        """Return rows as bits. `Refused` if there is a number that BitNet does not have."""
        table = bits_from(self._table(self._stored_scale(files)), self.dtype)
        return table[self.codes(files, first, last)]

    def codes(self, files: TensorFiles, first: int, last: int) -> NDArray[np.uint8]:
        """Return rows as stored, one more than the numbers. `Refused` as for `read`."""
        name, height, at = self.weight.parts["weight"], self.shape[0] // 4, first
        every = np.empty((last - first, self.shape[1]), np.uint8)
        while at < last:
            place, start = divmod(at, height)
            stop = min(height, start + last - at)
            codes = rows_of(files, name, start, stop) >> (2 * place) & _UNUSED
            every[at - first : at - first + stop - start] = codes
            at += stop - start
        if (every == _UNUSED).any():
            raise misread(name, "holds numbers that are neither -1 nor 0 nor 1")
        return every

    def scale(self, files: TensorFiles) -> float:
        """Return what stands for 1, which is the stored scale or one by it."""
        return float(self._table(self._stored_scale(files))[2])

    def _stored_scale(self, files: TensorFiles) -> NDArray[np.float32]:
        return floats_of(files, self.weight.parts["scales"], 0, 1).reshape(-1)

    def _table(self, scale: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the number of each code; the last is none."""
        numbers = np.array([-1, 0, 1, np.nan], np.float32)
        with np.errstate(all="ignore"):
            table: NDArray[np.float32] = numbers / scale[0] if self.weight.options["divides"] else numbers * scale[0]
        return table

    def array(self, arrays: Mapping[str, mx.array]) -> mx.array:
        """Return it as MLX computes it, lazily; on the CPU, as a GPU does not divide exactly."""
        every = arrays[self.weight.parts["weight"]]
        scale = arrays[self.weight.parts["scales"]].astype(mx.float32).reshape(-1)[:1]
        by = mx.divide if self.weight.options["divides"] else mx.multiply
        table = by(mx.array([-1.0, 0.0, 1.0, float("nan")]), scale, stream=mx.cpu)
        codes = mx.concatenate([(every >> (2 * place)) & _UNUSED for place in range(4)])
        return table.astype(self.dtype)[codes]
