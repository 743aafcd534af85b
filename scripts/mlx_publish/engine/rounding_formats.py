"""The number formats of `rounding`, and a layout of groups that makes numpy's loops long.

A piece of n groups is turned: value i of every group stands beside value i of all others, four neighbours at a time.
Then the maximum of each group, and every operation with one number a group, runs along whole rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
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
    normal: float
    """A scale from which on its quarter is a normal number."""
    least: int
    """The exponent of a scale whose quarter this type holds exactly, if not the smallest one."""

    def widen(self, bits: Array, out: Array) -> Array:
        """Return the values as float32, exactly, in `out` or where they are; NaN of float16 becomes finite."""
        wide = out.view(np.uint32)
        if self.dtype == mx.float32:
            return bits.view(np.float32)
        if self.dtype == mx.bfloat16:
            np.copyto(wide, bits.view(self.bits))
            np.left_shift(wide, 16, out=wide)
            return out
        # The sign is extended and cut back to one bit; the product corrects the exponent.
        np.copyto(wide.view(np.int32), bits.view(np.int16))
        np.left_shift(wide, 13, out=wide)
        np.bitwise_and(wide, 0x8FFFFFFF, out=wide)
        np.multiply(out, np.float32(2.0**112), out=out)
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
    mx.bfloat16: Format(mx.bfloat16, np.uint16, np.int16, np.uint64, 0x8000, 0x7F80, 1 << 7, 2.0**-100, -100),
    mx.float16: Format(mx.float16, np.uint16, np.int16, np.uint64, 0x8000, 0x7C00, 1 << 10, 2.0**-12, -22),
    mx.float32: Format(mx.float32, np.uint32, np.int32, np.complex128, 1 << 31, 0x7F800000, 1 << 23, 2.0**-100, -100),
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
    """A piece, turned: `values` has a row for every four values of a group and four columns for each group.

    What several modes need is computed once. `buffers` are those of the thread.
    """

    values: Array
    number: Format
    buffers: dict[str, Array]

    @classmethod
    def take(cls, values: Array, number: Format, buffers: dict[str, Array]) -> Groups:
        """Turn a piece of shape (groups, size)."""
        count, size = values.shape
        turned = _buffer(buffers, f"values {size}", number.bits, (size // LANES, count * LANES))
        np.copyto(turned.view(number.lanes), values.view(number.lanes).T)
        return cls(turned, number, buffers)

    def buffer(self, name: str, dtype: DTypeLike) -> Array:
        """Return the thread's buffer of that name, in the shape of `values`; it holds what was left there."""
        return _buffer(self.buffers, f"{name} {len(self.values)}", dtype, self.values.shape)

    def in_order(self, codes: Array, out: Array) -> None:
        """Turn bytes back into the order of the weight."""
        turned = codes.view(np.uint32)
        ordered = out.view(np.uint32).reshape(-1, len(turned))
        if len(turned) > 8:
            np.copyto(ordered, turned.T)
        else:  # numpy would loop along the short side
            for place, row in enumerate(turned):
                ordered[:, place] = row

    @cached_property
    def extremes(self) -> tuple[Array, Array, Array]:
        """The smallest and the largest value of each group, and whether one of its values is not finite."""
        values, number = self.values, self.number
        if number.dtype == mx.float32:
            low, high = _smallest(values.view(np.float32)), _largest(values.view(np.float32))
            return low, high, ~(np.isfinite(low) & np.isfinite(high))
        # As signed integers, positive floats sort as they are; as unsigned ones, negative floats sort by their size.
        high, low = _largest(values.view(number.signed)), _largest(values)
        rare = (high >= number.infinity) | (low >= number.sign | number.infinity)
        if (high < 0).any():
            high = np.where(high < 0, _smallest(values.view(number.signed)), high)
        if (low < number.sign).any():
            low = np.where(low < number.sign, _smallest(values), low)
        ends = [number.widen(end, np.empty(len(end), np.float32)) for end in (low, high)]
        return ends[0], ends[1], rare

    @cached_property
    def magnitudes(self) -> tuple[Array, Array]:
        """The bits of the magnitudes as signed integers, and the largest of each group."""
        signed, magnitudes = self.values.view(self.number.signed), self.buffer("magnitudes", self.number.signed)
        np.bitwise_and(signed, self.number.sign - 1, out=magnitudes)
        return magnitudes, _largest(magnitudes)

    @cached_property
    def below(self) -> Array:
        """Whether the smallest value of each group is farther from zero than the largest."""
        low, high, _ = self.extremes
        return np.greater(np.abs(low), np.abs(high))

    @cached_property
    def edge(self) -> Array:
        """The value of each group that is farthest from zero, and never -0."""
        low, high, _ = self.extremes
        edge = np.where(self.below, low, high)
        np.add(edge, np.float32(0), out=edge)
        return edge

    @cached_property
    def centred(self) -> Array:
        """The values less the edge of their group, as float32."""
        centred = self.buffer("centred", np.float32)
        return np.subtract(self.number.widen(self.values, centred), each_lane(self.edge), out=centred)


def _largest(values: Array) -> Array:
    return _over_lanes(np.maximum, np.maximum.reduce(values, axis=0))


def _smallest(values: Array) -> Array:
    return _over_lanes(np.minimum, np.minimum.reduce(values, axis=0))


def _buffer(buffers: dict[str, Array], name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> Array:
    length = shape[0] * shape[1]
    name = f"{name} {np.dtype(dtype).name}"
    if name not in buffers or buffers[name].size < length:
        buffers[name] = np.empty(length, dtype)
    return buffers[name][:length].reshape(shape)


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
