"""The number formats of `rounding`, and a layout of groups that makes numpy's loops long.

A piece of n groups is turned: value i of every group stands beside value i of all others, four neighbours at a time.
Then the maximum of each group, and every operation with one number a group, runs along whole rows.
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
    """A type of float: its bits as unsigned and signed integers, and four of it as one number to copy."""

    dtype: mx.Dtype
    bits: DTypeLike
    signed: DTypeLike
    lanes: DTypeLike
    sign: int
    infinity: int
    octave: int
    """How far the bits of a number and of its double are apart."""
    least: int
    """The smallest exponent of a scale, with some distance, whose quarter is a normal number."""

    def widen(self, bits: Array, out: Array) -> Array:
        """Return the values as float32 in `out`, exactly; infinity and NaN of float16 become finite."""
        wide = out.view(np.uint32)
        if self.dtype == mx.float16:
            # The sign is extended and cut back to one bit; the product corrects the exponent.
            np.copyto(wide.view(np.int32), bits.view(np.int16))
            np.left_shift(wide, 13, out=wide)
            np.bitwise_and(wide, 0x8FFFFFFF, out=wide)
            np.multiply(out, np.float32(2.0**112), out=out)
        else:
            np.copyto(wide, bits.view(self.bits))
            if self.dtype == mx.bfloat16:
                np.left_shift(wide, 16, out=wide)
        return out

    def narrow(self, values: Array) -> Array:
        """Return float32 numbers that are not NaN as bits of this type, rounded to nearest, ties to even."""
        if self.dtype == mx.float32:
            return values.view(np.uint32)
        if self.dtype == mx.float16:
            return values.astype(np.float16).view(np.uint16)
        bits = values.view(np.uint32)
        return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)

    def narrow_exactly(self, values: Array) -> Array:
        """Return float32 numbers that this type holds as its bits."""
        return (values.view(np.uint32) >> 16).astype(np.uint16) if self.dtype == mx.bfloat16 else self.narrow(values)


FORMATS = {
    mx.bfloat16: Format(mx.bfloat16, np.uint16, np.int16, np.uint64, 0x8000, 0x7F80, 1 << 7, -100),
    mx.float16: Format(mx.float16, np.uint16, np.int16, np.uint64, 0x8000, 0x7C00, 1 << 10, -12),
    mx.float32: Format(mx.float32, np.uint32, np.int32, np.complex128, 1 << 31, 0x7F800000, 1 << 23, -100),
}


@dataclass(frozen=True)
class Rounded:
    """What became of a piece: codes, turned as the piece is, and scale and bias of each group."""

    codes: Array
    parameters: tuple[Array, ...]
    rare: Array
    """Whether a group is left to MLX."""


@dataclass(frozen=True)
class Groups:
    """A piece, turned: `values` has a row for every four values of a group and four columns for each group."""

    values: Array
    number: Format
    size: int
    count: int
    buffers: dict[str, Array]

    @classmethod
    def take(cls, values: Array, number: Format, buffers: dict[str, Array]) -> Groups:
        """Turn a piece of shape (groups, size)."""
        count, size = values.shape
        shape = (size // LANES, count * LANES)
        turned = _buffer(buffers, "values", number.bits, shape)
        np.copyto(turned.view(number.lanes), values.view(number.lanes).T)
        return cls(turned, number, size, count, buffers)

    def buffer(self, name: str, dtype: DTypeLike) -> Array:
        """Return this thread's buffer of that name, in the shape of `values`; it holds what was left there."""
        return _buffer(self.buffers, name, dtype, self.values.shape)

    def in_order(self, codes: Array, out: Array) -> None:
        """Turn bytes back into the order of the weight."""
        turned, ordered = codes.view(np.uint32), out.view(np.uint32).reshape(self.count, -1)
        if len(turned) > 8:
            np.copyto(ordered, turned.T)
        else:  # numpy would loop along the short side
            for place, row in enumerate(turned):
                ordered[:, place] = row

    def largest(self, values: Array) -> Array:
        """Return the largest of each group."""
        return _over_lanes(np.maximum, np.maximum.reduce(values, axis=0))

    def smallest(self, values: Array) -> Array:
        """Return the smallest of each group."""
        return _over_lanes(np.minimum, np.minimum.reduce(values, axis=0))


def _buffer(buffers: dict[str, Array], name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> Array:
    length = shape[0] * shape[1]
    name = f"{name} {np.dtype(dtype).itemsize}"
    if name not in buffers or buffers[name].size < length:
        buffers[name] = np.empty(length, dtype)
    return buffers[name][:length].view(dtype).reshape(shape)


def _over_lanes(which: np.ufunc, lanes: Array) -> Array:
    half = which(lanes[0::2], lanes[1::2])
    both: Array = which(half[0::2], half[1::2])
    return both


def each_lane(numbers: Array) -> Array:
    """Repeat the number of each group for its lanes."""
    if numbers.itemsize != np.dtype(np.uint16).itemsize:
        return np.repeat(numbers, LANES)
    lanes = numbers.view(np.uint16).astype(np.uint64)
    return np.multiply(lanes, 0x0001000100010001, out=lanes).view(numbers.dtype)
