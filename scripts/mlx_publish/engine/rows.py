"""The source's parameters as rows of numbers, which are read, judged and forgotten piece by piece.

Most parameters are tensors of the source one behind the other: one as it is, or the experts of a layer stacked. Their
rows are read where they lie. Any other is computed by the class of the model, as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.graph import Graph
from mlx_publish.engine.placed import Placed
from mlx_publish.engine.tensor_files import TensorFiles

Bits = NDArray[Any]
"""Numbers as the integers of the same bits, (rows, columns); numpy has no bfloat16."""
INTEGERS = {2: np.uint16, 4: np.uint32}
SIGNED = {2: np.int16, 4: np.int32}
MLX_INTEGERS = {2: mx.uint16, 4: mx.uint32}
PIECE = 4 << 20
"""Bytes of the source that are worked on at a time: few enough for a core's cache, enough for its calls to count
little."""


class Rows(Protocol):
    """A parameter as rows."""

    @property
    def dtype(self) -> mx.Dtype:
        """Return the type in which it is stored."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its shape."""

    def read(self, first: int, last: int, into: Bits | None = None) -> Bits:
        """Return rows as bits; a buffer of their size is filled where it is given."""


def count(shape: Sequence[int]) -> tuple[int, int]:
    """Return rows and columns of a shape: all sides but the last are rows."""
    columns = shape[-1] if shape else 1
    return math.prod(shape[:-1]), columns


def pieces(rows: Rows) -> Iterator[tuple[int, int]]:
    """Yield the first row of each piece, and the one behind its last."""
    number, columns = count(rows.shape)
    if not number * columns:
        return
    # An even number: MLX takes groups of nvfp4 in pairs only.
    step = max(2, PIECE // (columns * rows.dtype.size) // 2 * 2)
    for first in range(0, number, step):
        yield first, min(number, first + step)


@dataclass(frozen=True)
class StoredRows:
    """Rows of tensors that lie one behind the other in the parameter, wherever they lie in files."""

    files: TensorFiles
    tensors: Sequence[Placed]
    shape: tuple[int, ...]
    dtype: mx.Dtype

    def read(self, first: int, last: int, into: Bits | None = None) -> Bits:
        """Return rows as bits. `Refused` if a file has become shorter."""
        columns, size = count(self.shape)[1], self.dtype.size
        bits = np.empty((last - first, columns), INTEGERS[size]) if into is None else into
        buffer, start, stop = memoryview(cast("Any", bits)).cast("B"), first * columns * size, last * columns * size
        # All tensors have the same size, or there is one.
        each = self.tensors[0].info.nbytes
        at = start
        while at < stop:
            tensor, offset = self.tensors[at // each], at % each
            size_here = min(stop - at, tensor.info.nbytes - offset)
            self.files.read_into(tensor.path, tensor.offset + offset, buffer[at - start : at - start + size_here])
            at += size_here
        return bits

    def whole(self) -> mx.array:
        """Return all rows as an array, read without an evaluation. `Refused` if a file has become shorter."""
        integers = mx.zeros(self.shape, MLX_INTEGERS[self.dtype.size])
        mx.eval(integers)
        memory = np.array(integers, copy=False).reshape(count(self.shape))  # MLX's own
        for first, last in pieces(self):
            self.read(first, last, memory[first:last])
        return mx.view(integers, self.dtype)


@dataclass(frozen=True)
class ComputedRows:
    """Rows of an array that is in memory."""

    array: mx.array

    @property
    def dtype(self) -> mx.Dtype:
        """Return the type of the array."""
        return self.array.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the array."""
        return tuple(self.array.shape)

    def read(self, first: int, last: int, into: Bits | None = None) -> Bits:
        """Return rows as bits."""
        bits = bits_of(self.array).reshape(count(self.shape))[first:last]
        if into is not None:
            into[...] = bits
            return into
        return bits


def bits_of(array: mx.array) -> Bits:
    """Return the memory of an array that is computed; floats of 16 bits come as integers."""
    seen = mx.view(array, mx.uint16) if array.dtype in (mx.bfloat16, mx.float16) else array
    return np.ascontiguousarray(np.array(seen, copy=False))


def origin(
    graph: Graph, array: mx.array, sources: Mapping[str, str], arrays: Mapping[str, mx.array]
) -> tuple[str, ...] | None:
    """Return the source's `arrays` whose rows, one behind the other, are a parameter's; None if it is made otherwise.

    It may be one of them, or several of one shape and type stacked along a new first side. `sources` are names by keys.
    """
    key = graph.key(array)
    if key in sources:
        return (sources[key],)
    stack = graph.made_by(key)
    if stack.name != "Concatenate":
        return None
    experts = [graph.made_by(part) for part in stack.takes]
    leaves = [expert.takes[0] for expert in experts if expert.name == "ExpandDims" and expert.takes[0] in sources]
    if len(leaves) != len(experts):
        return None
    names = tuple(sources[leaf] for leaf in leaves)
    first = arrays[names[0]]
    like = all(arrays[name].shape == first.shape and arrays[name].dtype == first.dtype for name in names)
    return names if like and _is_stack(array, len(names), first) else None


def _is_stack(array: mx.array, number: int, part: mx.array) -> bool:
    """Return whether an array can only be a stack along its first side, which the graph does not tell."""
    shape, inner = tuple(array.shape), tuple(part.shape)
    sides = [at for at in range(len(inner) + 1) if (*inner[:at], number, *inner[at:]) == shape]
    return sides == [0] and array.dtype == part.dtype
