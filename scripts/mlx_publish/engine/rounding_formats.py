"""What `rounding` knows of the number formats, and how it lays groups out so that numpy's loops are long.

A piece of n groups is turned: value i of every group stands next to value i of all others, in lanes of four values
each. Then the maximum of each group and every operation with one number a group runs along whole rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
LANES = 4
"""Neighbouring values that stay together when a piece is turned."""


@dataclass(frozen=True)
class Format:
    """A type of float: its bits as unsigned and signed integers, four of it as one number to copy."""

    dtype: mx.Dtype
    bits: DTypeLike
    signed: DTypeLike
    lane: DTypeLike
    sign: int
    infinity: int
    least: int
    """The smallest exponent of a scale whose quarter is exact in this type, with some distance."""

    def widen(self, bits: Array, out: Array) -> Array:
        """Return the values as float32 in `out`, exactly."""
        if self.dtype == mx.float32:
            np.copyto(out.view(np.uint32), bits.view(self.bits))
        elif self.dtype == mx.bfloat16:
            wide = out.view(np.uint32)
            np.copyto(wide, bits.view(self.bits))
            np.left_shift(wide, 16, out=wide)
        else:
            np.copyto(out, bits.view(np.float16))
        return out

    def narrow(self, values: Array) -> Array:
        """Return float32 numbers that are not NaN as bits of this type, rounded to nearest, ties to even."""
        if self.dtype == mx.float32:
            return values.view(np.uint32)
        if self.dtype == mx.float16:
            return values.astype(np.float16).view(np.uint16)
        bits = values.view(np.uint32)
        return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


FORMATS = {
    mx.bfloat16: Format(mx.bfloat16, np.uint16, np.int16, np.uint64, 0x8000, 0x7F80, -100),
    mx.float16: Format(mx.float16, np.uint16, np.int16, np.uint64, 0x8000, 0x7C00, -20),
    mx.float32: Format(mx.float32, np.uint32, np.int32, np.complex128, 0x80000000, 0x7F800000, -100),
}


@dataclass(frozen=True)
class Rounded:
    """The codes of a piece, turned as the piece is; one array a parameter (scale, bias), one number a group."""

    codes: Array
    parameters: tuple[Array, ...]
    rare: Array
    """Whether a group is left to MLX."""


@dataclass(frozen=True)
class Groups:
    """A piece, turned: `values` has a row for every four values of a group and four columns a group."""

    values: Array
    number: Format
    size: int
    count: int
    buffers: dict[str, Array]

    @classmethod
    def take(cls, values: Array, number: Format, buffers: dict[str, Array]) -> Groups:
        """Turn a piece of shape (groups, size)."""
        count, size = values.shape
        groups = cls(np.empty(0), number, size, count, buffers)
        turned = groups.buffer("values", number.bits)
        np.copyto(turned.view(number.lane), values.view(number.lane).T)
        return cls(turned, number, size, count, buffers)

    def buffer(self, name: str, dtype: DTypeLike) -> Array:
        """Return this thread's buffer of that name in the shape of `values`; what it holds is of an earlier use."""
        shape = (self.size // LANES, self.count * LANES)
        length = shape[0] * shape[1]
        name = f"{name} {np.dtype(dtype).name}"
        if name not in self.buffers or self.buffers[name].size < length:
            self.buffers[name] = np.empty(length, dtype)
        return self.buffers[name][:length].reshape(shape)

    def in_order(self, codes: Array) -> Array:
        """Turn bytes back into the order of the weight."""
        ordered = self.buffer("ordered", np.uint8).reshape(-1)
        np.copyto(ordered.view(np.uint32).reshape(self.count, -1), codes.view(np.uint32).T)
        return ordered

    def most(self, values: Array) -> Array:
        """Return the largest of every group."""
        return _over_lanes(np.maximum, np.maximum.reduce(values, axis=0))

    def least(self, values: Array) -> Array:
        """Return the smallest of every group."""
        return _over_lanes(np.minimum, np.minimum.reduce(values, axis=0))


def _over_lanes(which: np.ufunc, lanes: Array) -> Array:
    half = which(lanes[0::2], lanes[1::2])
    both: Array = which(half[0::2], half[1::2])
    return both


def each_lane(numbers: Array) -> Array:
    """Repeat one number a group for its lanes."""
    return np.repeat(numbers, LANES)
