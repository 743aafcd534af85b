"""Tensors of a source that are computed of others, row by row: of packed integers, or of a base and an adapter.

To the class of a model, and to all that reads parameters, one looks like a tensor that lies in a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import mlx.core as mx
import numpy as np

from mlx_publish.engine.rows import INTEGERS, Bits, count
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.model.packed_weight import PackedWeight


class Derived(Protocol):
    """A tensor that is computed of tensors of the files, or of derived ones."""

    @property
    def name(self) -> str:
        """Return its name, under which an unquantized model has it."""

    @property
    def takes(self) -> tuple[str, ...]:
        """Return the names of the tensors that it is computed of."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its shape; all sides but the last are rows."""

    @property
    def dtype(self) -> mx.Dtype:
        """Return its type: bfloat16, float16 or float32."""

    def read(self, files: TensorFiles, first: int, last: int) -> Bits:
        """Return rows as bits, (rows, columns). It is called by several threads."""

    def array(self, arrays: Mapping[str, mx.array]) -> mx.array:
        """Return it whole as MLX computes it, lazily: of the same bits. `arrays` are those of `takes`, by name."""


def weight_of(tensor: Derived) -> PackedWeight | None:
    """Return the quantized weight that a tensor is read of; None if it is of another kind."""
    weight = getattr(tensor, "weight", None)
    return weight if isinstance(weight, PackedWeight) else None


def packed_of(tensor: Derived) -> Derived | None:
    """Return the reader of the quantized weight that a tensor is, also below an adapter; None if it is none."""
    below = getattr(tensor, "base", None) or tensor
    return below if weight_of(below) is not None else None


@dataclass(frozen=True)
class DerivedRows:
    """Rows of derived tensors of one shape that lie one behind the other in a parameter."""

    files: TensorFiles
    tensors: Sequence[Derived]
    shape: tuple[int, ...]
    dtype: mx.Dtype

    def read(self, first: int, last: int, into: Bits | None = None) -> Bits:
        """Return rows as bits. `Refused` if a file has become shorter."""
        rows, columns = count(self.shape)
        bits = np.empty((last - first, columns), INTEGERS[self.dtype.size]) if into is None else into
        each, at = rows // len(self.tensors), first
        while at < last:
            number, start = divmod(at, each)
            stop = min(each, start + last - at)
            bits[at - first : at - first + stop - start] = self.tensors[number].read(self.files, start, stop)
            at += stop - start
        return bits

    def whole(self) -> mx.array:
        """Return all rows as an array."""
        array = mx.array(self.read(0, count(self.shape)[0])).view(self.dtype).reshape(self.shape)
        mx.eval(array)
        return array
