"""Weights of a base with an adapter: W' = W + scale * B A, computed in float32 and rounded once to W's type.

Every sum has one order, so numpy and MLX give the same bits, on any processor: a product of matrices is added rank by
rank, and lengths (DoRA) are sums of halves. A BLAS adds in an order of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.derived import Derived
from mlx_publish.engine.rows import Bits, Rows, count
from mlx_publish.engine.stored_numbers import bits_from, floats_of
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.model.adapted import Adapted, Factor, Update

Floats = NDArray[np.float32]
_BLOCK = 256
"""Rows whose squares are added in halves before the sums of such blocks are: lengths of columns."""
_CACHED = 1 << 16
"""Numbers that are worked on at a time, few enough for a core's cache."""
_KEPT = 256 << 20
"""Bytes of factors that stay in memory: those of the weights that several threads are at."""


class Factors:
    """The tensors of an adapter, read when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Read the header."""
        self.files = TensorFiles(path.parent, path.name)
        self._path, self._lock = path, threading.Lock()
        self._kept: dict[str, Floats] = {}

    @cached_property
    def arrays(self) -> Mapping[str, mx.array]:
        """Return the tensors as MLX reads them, lazily."""
        arrays: dict[str, mx.array] = mx.load(str(self._path))  # type: ignore[assignment]  # of safetensors
        return arrays

    def numbers(self, name: str) -> Floats:
        """Return a tensor in float32, in its own shape; those that were asked for last stay in memory."""
        with self._lock:
            if name not in self._kept:
                while self._kept and sum(kept.nbytes for kept in self._kept.values()) > _KEPT:
                    del self._kept[next(iter(self._kept))]
                shape = self.files.stored[name].info.shape
                self._kept[name] = self.rows(name, 0, count(shape)[0]).reshape(shape)
            return self._kept[name]

    def rows(self, name: str, first: int, last: int) -> Floats:
        """Return rows of a tensor in float32; a vector is one row."""
        shape = self.files.stored[name].info.shape
        if len(shape) > 1:
            return floats_of(self.files, name, first, last)
        return floats_of(self.files, name, 0, shape[0] if shape else 1).reshape(1, -1)[first:last]

    def matrix(self, factor: Factor) -> Floats:
        """Return a factor in float32."""
        seen: Floats = _matrix(self.numbers(factor.tensor), factor)
        return seen

    def lazily(self, factor: Factor, *, every: bool = False) -> mx.array:
        """Return a factor in float32 as MLX reads it; with `every` that of all experts, (experts, rows, columns)."""
        tensor = self.arrays[factor.tensor].astype(mx.float32)
        made: mx.array = _every(tensor, factor) if every else _matrix(tensor, factor)
        return made


def _matrix(tensor: Any, factor: Factor) -> Any:
    """Return the matrix that a factor is of a tensor, of numpy or MLX."""
    if factor.experts > 1 or len(tensor.shape) == 3:
        if factor.inner:
            tensor = tensor.reshape(tensor.shape[0], -1, factor.experts)[:, :, factor.expert]
        else:
            tensor = tensor.reshape(factor.experts, -1, tensor.shape[-1])[factor.expert]
    return (tensor.T if factor.turned else tensor)[factor.first :]


def _every(tensor: mx.array, factor: Factor) -> mx.array:
    """Return the matrices of all experts that lie in a tensor."""
    if factor.inner:
        tensor = tensor.reshape(tensor.shape[0], -1, factor.experts).transpose(2, 0, 1)
    else:
        tensor = tensor.reshape(factor.experts, -1, tensor.shape[-1])
    return tensor.swapaxes(1, 2) if factor.turned else tensor


@dataclass(frozen=True)
class FusedWeight:
    """A weight as the fused model has it: a `Derived` over a tensor of the files, or over a derived one."""

    change: Adapted
    dtype: mx.Dtype
    factors: Factors
    base: Derived | None = None
    """What the base's tensor is, where it is derived itself."""
    _lengths: dict[str, Floats] = field(default_factory=dict, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False)

    @property
    def name(self) -> str:
        """Return its name."""
        return self.change.name

    @property
    def takes(self) -> tuple[str, ...]:
        """Return the names of the base's tensors that it is computed of."""
        if self.base is not None:
            return self.base.takes
        return (self.change.base,) if self.change.base and not self.change.instead else ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its shape."""
        return tuple(self.change.shape)

    def read(self, files: TensorFiles, first: int, last: int) -> Bits:
        """Return rows as bits."""
        return bits_from(self.fused(lambda one, other: self._plain(files, one, other), first, last), self.dtype)

    def _plain(self, files: TensorFiles, first: int, last: int) -> Floats:
        """Return rows of the base in float32, a vector as one row."""
        if self.change.instead:
            return self.factors.rows(self.change.instead, first, last)
        if self.base is not None:
            return floats_from(self.base.read(files, first, last), self.base.dtype)
        name = str(self.change.base)
        if len(self.shape) < 2:
            return floats_of(files, name, 0, self.shape[0] if self.shape else 1).reshape(1, -1)[first:last]
        return floats_of(files, name, first, last)

    def fused(self, plain: Any, first: int, last: int) -> Floats:
        """Return fused rows in float32; `plain` takes first and last row and returns the base's."""
        values = self._updated(np.array(plain(first, last), np.float32), first, last)
        if self.change.magnitude is None:
            return values
        lengths = self.factors.numbers(self.change.magnitude).reshape(-1)
        if not self.change.columns:
            scaled: Floats = values * (lengths[first:last] / np.sqrt(halves(values * values, 1)))[:, None]
            return scaled
        with self._lock:
            if "" not in self._lengths:
                rows = count(self.shape)[0]
                blocks = ((at, min(rows, at + _BLOCK)) for at in range(0, rows, _BLOCK))
                updated = (self._updated(np.array(plain(one, other), np.float32), one, other) for one, other in blocks)
                sums = np.stack([halves(block * block, 0, _BLOCK) for block in updated])
                self._lengths[""] = lengths / np.sqrt(halves(sums, 0))
        return values * self._lengths[""][None, :]

    def _updated(self, values: Floats, first: int, last: int) -> Floats:
        """Return rows with what is added to them, and with rows that are replaced."""
        change = self.change
        for update in change.updates:
            low, high = max(first, update.first), min(last, update.first + update.rows)
            if low < high:
                left = self.factors.matrix(update.left)[low - update.first : high - update.first]
                right = np.ascontiguousarray(self.factors.matrix(update.right))
                _add(values[low - first : high - first], np.ascontiguousarray(left), right, update.scale)
        if change.rows_of:
            rows = self.factors.numbers(change.rows_of)
            for number, row in enumerate(change.tokens):
                if first <= row < last:
                    values[row - first] = rows[number]
        if change.added:
            values += self.factors.numbers(change.added).reshape(1, -1) * np.float32(change.scale)
        return values

    def array(self, arrays: Mapping[str, mx.array]) -> mx.array:
        """Return it as MLX computes it; `arrays` has those of `takes`."""
        if self.base is not None:
            return self.over(self.base.array(arrays))
        return self.over(arrays[self.takes[0]] if self.takes else None)

    def over(self, base: mx.array | None) -> mx.array:
        """Return it as MLX computes it of the base's tensor, lazily; in the type of that one."""
        change, lazily = self.change, self.factors.arrays
        plain = base if base is not None and not change.instead else lazily[str(change.instead)]
        values = plain.astype(mx.float32).reshape(count(self.shape))
        if self._is_of_experts():
            values = self._experts(values.reshape(self.shape)).reshape(values.shape)
        elif change.updates:
            values = mx.concatenate(list(self._pieces(values)))
        if change.rows_of:
            values = mx.array(values)
            values[mx.array(list(change.tokens))] = lazily[change.rows_of].astype(mx.float32)
        if change.added:
            values = values + lazily[change.added].astype(mx.float32).reshape(1, -1) * np.float32(change.scale).item()
        if change.magnitude:
            lengths = lazily[change.magnitude].astype(mx.float32).reshape(-1)
            if change.columns:
                values = values * (lengths / mx.sqrt(_of_columns(values * values)))[None, :]
            else:
                values = values * (lengths / mx.sqrt(halves(values * values, 1)))[:, None]
        return values.reshape(self.shape).astype(self.dtype)

    def _pieces(self, values: mx.array) -> Any:
        """Yield the rows of all updates, which do not overlap, and those between them."""
        at, rows = 0, values.shape[0]
        for update in sorted(self.change.updates, key=lambda update: update.first):
            if at < update.first:
                yield values[at : update.first]
            at = update.first + update.rows
            left, right = self.factors.lazily(update.left), self.factors.lazily(update.right)
            yield values[update.first : at] + _product(left[: update.rows], right, update)
        if at < rows:
            yield values[at:]

    def _is_of_experts(self) -> bool:
        """Return whether there is one update for each of stacked experts, all of the same tensors."""
        updates, count = self.change.updates, self.shape[0] if len(self.shape) == 3 else 0
        rows = self.shape[1] if count else 0
        return len(updates) == count > 1 and all(
            (update.first, update.rows, update.left.expert, update.left.experts) == (at * rows, rows, at, count)
            and update.left.first == 0
            and (update.left.tensor, update.right.tensor) == (updates[0].left.tensor, updates[0].right.tensor)
            for at, update in enumerate(updates)
        )

    def _experts(self, values: mx.array) -> mx.array:
        update = self.change.updates[0]
        left, right = self.factors.lazily(update.left, every=True), self.factors.lazily(update.right, every=True)
        return values + _product(left, right, update)


def _product(left: mx.array, right: mx.array, update: Update) -> mx.array:
    total: mx.array = left[..., :1] * right[..., :1, :]
    for rank in range(1, update.rank):
        total = total + left[..., rank : rank + 1] * right[..., rank : rank + 1, :]
    scaled: mx.array = total * np.float32(update.scale).item()
    return scaled


def _add(values: Floats, left: Floats, right: Floats, scale: float) -> None:
    """Add a product to rows, rank by rank, a few rows at a time."""
    step = max(1, _CACHED // right.shape[1])
    total = np.empty((min(step, len(values)), right.shape[1]), np.float32)
    product = np.empty_like(total)
    for first in range(0, len(values), step):
        here = left[first : first + step]
        into, one = total[: len(here)], product[: len(here)]
        np.multiply(here[:, :1], right[0], out=into)
        for rank in range(1, right.shape[0]):
            np.multiply(here[:, rank : rank + 1], right[rank], out=one)
            into += one
        into *= np.float32(scale)
        values[first : first + step] += into


def halves(values: Any, axis: int, size: int = 0) -> Any:
    """Return sums along the first or second of two sides: the second half is added to the first until one is left.

    The side is filled up with zeros to `size`, or to the next power of two. For arrays of numpy and of MLX.
    """
    of = mx if isinstance(values, mx.array) else np
    have = values.shape[axis]
    size = size or 1 << (have - 1).bit_length()
    if size > have:
        shape = [*values.shape]
        shape[axis] = size - have
        values = of.concatenate([values, of.zeros(shape, values.dtype)], axis)
    while size > 1:
        size //= 2
        values = values[:size] + values[size:] if axis == 0 else values[:, :size] + values[:, size:]
    return values[0] if axis == 0 else values[:, 0]


def _of_columns(squares: mx.array) -> mx.array:
    blocks = [halves(squares[at : at + _BLOCK], 0, _BLOCK) for at in range(0, squares.shape[0], _BLOCK)]
    total: mx.array = halves(mx.stack(blocks), 0)
    return total


def floats_from(bits: Bits, dtype: mx.Dtype) -> Floats:
    """Return bits of a float type as float32, exactly."""
    if dtype == mx.float16:
        return bits.view(np.float16).astype(np.float32)
    if dtype == mx.bfloat16:
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return bits.view(np.float32)


@dataclass(frozen=True)
class FusedRows:
    """Rows of a parameter with an adapter of mlx-lm's, over the rows of that parameter."""

    weight: FusedWeight
    rows: Rows

    @property
    def dtype(self) -> mx.Dtype:
        """Return the type of the parameter."""
        return self.rows.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the parameter."""
        return self.rows.shape

    def read(self, first: int, last: int, into: Bits | None = None) -> Bits:
        """Return rows as bits."""
        values = self.weight.fused(self._plain, first, last)
        bits = bits_from(values, self.dtype)
        if into is None:
            return bits
        into[...] = bits
        return into

    def _plain(self, first: int, last: int) -> Floats:
        if self.weight.change.instead:
            return self.weight.factors.rows(self.weight.change.instead, first, last)
        return floats_from(self.rows.read(first, last), self.dtype)

    def whole(self) -> mx.array:
        """Return all rows as an array."""
        array = mx.array(self.read(0, count(self.shape)[0])).view(self.dtype).reshape(self.shape)
        mx.eval(array)
        return array
