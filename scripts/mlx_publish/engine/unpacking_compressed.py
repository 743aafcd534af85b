"""Integer weights of compressed-tensors: packed along their rows, or a byte each."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.bit_streams import integers, mlx_integers, span
from mlx_publish.engine.stored_numbers import floats_from, rows_of
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.engine.unpacking_integers import Integers, Numbers, misread


class IntegerRows(Integers):
    """weight (rows, columns) in bytes; scales and zero points are one, (rows, 1) or (rows, groups)."""

    @property
    def raised(self) -> int:
        """Return half of the range: bytes are signed."""
        return self.half

    def integers_of(self, files: TensorFiles, expert: int, first: int, last: int) -> Numbers:
        """Return the integers of rows of an expert."""
        return rows_of(files, self.weight.parts["weight"], *self._from(expert, first, last))

    def zeros_of(self, files: TensorFiles, expert: int, first: int, last: int) -> Numbers | int:
        """Return the zero points, as integers of the weight."""
        name = self.weight.parts.get("zeros")
        return self._of_rows(files, name, expert, first, last).astype(np.int16) if name else 0

    def scales_of(self, files: TensorFiles, expert: int, first: int, last: int) -> NDArray[np.float32]:
        """Return the scales."""
        name = self.weight.parts["scales"]
        return floats_from(self._of_rows(files, name, expert, first, last), files.stored[name].info.dtype)

    def _of_rows(self, files: TensorFiles, name: str, expert: int, first: int, last: int) -> Numbers:
        """Return what belongs to rows of an expert, (rows, groups), or the one that is for all, (1, 1)."""
        info = files.stored[name].info
        if info.size == 1:
            return rows_of(files, name, 0, 1).reshape(1, 1)
        start, stop = self._from(expert, first, last)
        if info.shape == self.shape[:-1] and len(info.shape) > 1:  # (experts, rows)
            return rows_of(files, name, expert, expert + 1)[0, first:last, None]
        return rows_of(files, name, start, stop)

    def _from(self, expert: int, first: int, last: int) -> tuple[int, int]:
        return expert * self.shape[-2] + first, expert * self.shape[-2] + last

    def _checked(self, index: Numbers) -> Numbers | None:
        # compressed-tensors fills an index that it does not use with -1.
        return None if (index == -1).any() else super()._checked(index)

    def _lazy_index(self, index: mx.array) -> mx.array:
        side_by_side = mx.arange(self.shape[-1], dtype=mx.int32) // max(1, self.weight.block[1])
        return mx.where((index == -1).any(), side_by_side, super()._lazy_index(index))

    def _lazily(self, parts: Mapping[str, mx.array]) -> tuple[mx.array, mx.array | int, mx.array]:
        whole = parts["weight"].astype(mx.int32)
        zeros = self._column(parts["zeros"]).astype(mx.int32) if "zeros" in parts else 0
        return whole, zeros, self._column(parts["scales"])

    def _column(self, array: mx.array) -> mx.array:
        return array.reshape(1, 1) if array.size == 1 else array.reshape(self.shape[-2], -1)


class PackedRows(IntegerRows):
    """weight_packed (rows, words), weight_zero_point (words, groups), numbers raised by half of their range."""

    @property
    def raised(self) -> int:
        """Return nothing: packed numbers are raised already."""
        return 0

    def integers_of(self, files: TensorFiles, expert: int, first: int, last: int) -> Numbers:
        """Return the integers of rows of an expert."""
        self._judge_shape(files)
        words = rows_of(files, self.weight.parts["weight"], *self._from(expert, first, last))
        return integers(words, self.bits, self.shape[-1], padded=self._padded)

    def _judge_shape(self, files: TensorFiles) -> None:
        name = self.weight.parts.get("shape")
        if name is None:
            return
        said = tuple(int(side) for side in rows_of(files, name, 0, len(self.shape)).reshape(-1))
        if said != self.shape:
            raise misread(name, f"says {list(said)}, and packed numbers and scales are of {list(self.shape)}")

    @property
    def _padded(self) -> bool:
        return bool(self.weight.options["padded"])

    def zeros_of(self, files: TensorFiles, expert: int, first: int, last: int) -> Numbers | int:
        """Return the zero points, or the one for all."""
        name = self.weight.parts.get("zeros")
        if name is None:
            return self.half
        if not self.weight.options["zeros-packed"]:
            raised: NDArray[np.int16] = self._of_rows(files, name, expert, first, last) + np.int16(self.half)
            return raised
        start, stop, before = span(first, last, self.bits, padded=self._padded)
        height = files.stored[name].info.shape[-2]
        words = rows_of(files, name, expert * height + start, expert * height + stop)
        every = integers(words.T, self.bits, before + last - first, padded=self._padded)
        zeros: NDArray[np.int16] = every[:, before:].T.astype(np.int16)
        return zeros

    def _lazily(self, parts: Mapping[str, mx.array]) -> tuple[mx.array, mx.array | int, mx.array]:
        rows, columns = self.shape[-2:]
        whole = mlx_integers(parts["weight"], self.bits, columns, padded=self._padded)
        scales = self._column(parts["scales"])
        if "zeros" not in parts:
            return whole, self.half, scales
        if not self.weight.options["zeros-packed"]:
            return whole, self._column(parts["zeros"]).astype(mx.int32) + self.half, scales
        return whole, mlx_integers(parts["zeros"].T, self.bits, rows, padded=self._padded).T, scales
