"""Weights that are integers: (integer - zero point) * scale of its group, in float32 and rounded once.

A form says where integers, zero points and scales of some rows lie; what is computed of them is the same for all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.rows import INTEGERS, Bits
from mlx_publish.engine.stored_numbers import bits_from, rows_of
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.engine.unpacked import Unpacked
from mlx_publish.errors import Refused

Numbers = NDArray[Any]
_REMEDY = "Compare quantization_config with the weights; download the source again if it is not whole."


def misread(name: str, fault: str) -> Refused:
    """Return the error for what a tensor of a packed weight holds."""
    return Refused(fault, check="weights-numbers", place=name[:200], remedy=_REMEDY)


@dataclass(frozen=True)
class Integers(Unpacked, ABC):
    """A weight of (rows, columns), or of (experts, rows, columns), in integers."""

    @property
    def bits(self) -> int:
        """Return the bits of an integer."""
        return int(self.weight.bits)

    @property
    def half(self) -> int:
        """Return the zero point of weights that have none: half of the range."""
        return 1 << (self.bits - 1)

    @property
    def raised(self) -> int:
        """Return what is added to stored integers so that none is below zero."""
        return 0

    @property
    def rows(self) -> int:
        """Return the number of rows of all experts."""
        return prod(self.shape[:-1])

    @property
    def groups(self) -> int:
        """Return how many groups a row has by its block."""
        each = self.weight.block[1]
        return -(-self.shape[-1] // each) if each else 1

    def read(self, files: TensorFiles, first: int, last: int) -> Bits:
        """Return rows as bits. `Refused` if the file is shorter, or the tensors contradict each other."""
        bits, index = np.empty((last - first, self.shape[-1]), INTEGERS[self.dtype.size]), self._index_in(files)
        at = 0
        for expert, start, stop in self.ranges(first, last):
            values = self._values(files, expert, (start, stop), index)
            bits[at : at + stop - start] = bits_from(values, self.dtype)
            at += stop - start
        return bits

    def ranges(self, first: int, last: int, most: int | None = None) -> Iterator[tuple[int, int, int]]:
        """Yield for rows the expert, and its rows from and to; `most` at a time."""
        rows = self.shape[-2]
        while first < last:
            expert, start = divmod(first, rows)
            stop = min(rows, start + last - first, start + (most or rows))
            yield expert, start, stop
            first += stop - start

    def judge(self, files: TensorFiles) -> None:
        """Look at all zero points and at the index: `read` sees those of its rows. `Refused` as there."""
        self._index_in(files)
        for expert, first, last in self.ranges(0, self.rows):
            self.zeros_of(files, expert, first, last)

    def side_by_side(self, files: TensorFiles) -> bool:
        """Return whether the columns of each group lie side by side, in the order of the groups."""
        index, each = self._index_in(files), self.weight.block[1]
        return index is None or not each or bool((index == np.arange(self.shape[-1]) // each).all())

    def _values(
        self, files: TensorFiles, expert: int, rows: tuple[int, int], index: Numbers | None
    ) -> NDArray[np.float32]:
        scales, zeros = self.scales_of(files, expert, *rows), self.zeros_of(files, expert, *rows)
        whole = self.integers_of(files, expert, *rows).astype(np.int16)
        columns, each = self.shape[-1], self.weight.block[1]
        if index is None and each and columns % each == 0:  # groups of one size need no copy for each column
            whole, scales = whole.reshape(len(whole), -1, each), scales[..., None]
            zeros = zeros[..., None] if isinstance(zeros, np.ndarray) else zeros
        else:
            scales = self._spread(scales, index)
            zeros = self._spread(zeros, index) if isinstance(zeros, np.ndarray) else zeros
        whole -= np.asarray(zeros, np.int16)
        values: NDArray[np.float32] = whole.astype(np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            values *= scales
        return values.reshape(-1, columns)

    def _spread(self, of_groups: Numbers, index: Numbers | None) -> Numbers:
        """Return what belongs to each column by its group, or one column for all."""
        if of_groups.shape[1] == 1:
            return of_groups
        if index is not None:
            return of_groups[:, index]
        return of_groups.repeat(self.weight.block[1], axis=1)[:, : self.shape[-1]]

    def array(self, arrays: Mapping[str, mx.array]) -> mx.array:
        """Return it as MLX computes it, lazily: nothing is read, as it may not be there yet."""
        parts = {part: arrays[name] for part, name in self.weight.parts.items()}
        index = self._lazy_index(parts["index"].reshape(-1)) if "index" in parts else None
        if len(self.shape) == 2:
            return self._one(parts, index)
        of_experts = (
            {part: array if part in ("index", "shape") else array[expert] for part, array in parts.items()}
            for expert in range(self.shape[0])
        )
        return mx.stack([self._one(of_one, index) for of_one in of_experts])

    def _one(self, parts: Mapping[str, mx.array], index: mx.array | None) -> mx.array:
        whole, zeros, scales = self._lazily(parts)
        whole = whole - (zeros if isinstance(zeros, int) else self._mlx_spread(zeros, index))
        return (whole.astype(mx.float32) * self._mlx_spread(scales.astype(mx.float32), index)).astype(self.dtype)

    def _mlx_spread(self, of_groups: mx.array, index: mx.array | None) -> mx.array:
        if of_groups.shape[1] == 1:
            return of_groups
        if index is not None:
            return mx.take(of_groups, index, axis=1)
        return mx.repeat(of_groups, self.weight.block[1], axis=1)[:, : self.shape[-1]]

    def _index_in(self, files: TensorFiles) -> Numbers | None:
        """Return the group of each column where the source lists them; None where groups lie side by side."""
        name = self.weight.parts.get("index")
        return None if name is None else self._checked(rows_of(files, name, 0, self.shape[-1]).reshape(-1))

    def _checked(self, index: Numbers) -> Numbers | None:
        """Return an index. `Refused` if it names groups that are not there."""
        if index.min(initial=0) < 0 or index.max(initial=0) >= self.groups:
            raise misread(
                self.weight.parts["index"],
                f"names groups from {index.min()} to {index.max()}; the scales are of {self.groups}",
            )
        return index.astype(np.int32)

    def _lazy_index(self, index: mx.array) -> mx.array:
        """Return the group of each column. One that is not there becomes the nearest: `_checked` refuses it."""
        return mx.clip(index, 0, self.groups - 1).astype(mx.int32)

    @abstractmethod
    def integers_of(self, files: TensorFiles, expert: int, first: int, last: int) -> Numbers:
        """Return the integers of rows of an expert, (rows, columns)."""

    @abstractmethod
    def zeros_of(self, files: TensorFiles, expert: int, first: int, last: int) -> Numbers | int:
        """Return the zero points, (rows, groups), or one for all."""

    @abstractmethod
    def scales_of(self, files: TensorFiles, expert: int, first: int, last: int) -> NDArray[np.float32]:
        """Return the scales, (rows, groups) or (rows, 1)."""

    @abstractmethod
    def _lazily(self, parts: Mapping[str, mx.array]) -> tuple[mx.array, mx.array | int, mx.array]:
        """Return integers, zero points and scales of an expert as MLX computes them, all of (rows, ...)."""
