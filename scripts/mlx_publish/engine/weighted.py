"""Affine quantization with scales chosen by how much flows through each column: MLX's format, other numbers in it.

`mx.quantize` takes scale and bias of a group from its smallest and largest value. Here those are chosen that make the
squared error least, each column weighted by the mean square of what flows into it. Scales and biases are compared as
they are stored, with the codes nearest by the stored ones, so what is measured is what users get.

A group starts from MLX's own scale and bias and from ranges with less of either end. A line is fitted to the codes by
weighted least squares, they are rounded again, and scales somewhat narrower and wider are tried. A group for which
nothing better is found keeps MLX's bytes. All machines write the same bytes; weighted_search.py says why.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache

import mlx.core as mx
import numpy as np

from mlx_publish.engine.rounding import Precision, quantize_rows_each
from mlx_publish.engine.rounding_formats import FORMATS, LANES, Array, Groups
from mlx_publish.engine.rounding_packing import pack
from mlx_publish.engine.weighted_search import Search, Space

BLOCK = 1 << 17
"""Values that are worked on at a time: few enough for a cache, enough for calls on one number a group to be cheap."""
STEPS = "0123456789abcdefghijklmnopqrstuvwxyz"
"""Characters of an importance: steps of its binary logarithm."""


class _Thread(threading.local):
    """What a thread keeps: buffers for groups that are turned, and spaces by size and number of groups."""

    def __init__(self) -> None:
        self.buffers: dict[str, Array] = {}
        self.spaces: dict[tuple[int, int], Space] = {}

    def space(self, size: int, count: int) -> Space:
        """Return the space for a block; only whole blocks come again and again."""
        if (size, count) in self.spaces:
            return self.spaces[size, count]
        space = Space(size, count)
        if size * count == BLOCK:
            self.spaces[size, count] = space
        return space


_thread = _Thread()


@lru_cache(maxsize=64)
def weights_of(characters: str) -> Array:
    """Return the weight of each column, 2**step for each character's step, as float32."""
    steps = np.array([STEPS.index(character) for character in characters], np.uint32)
    weights = ((steps + 127) << 23).view(np.float32)
    weights.flags.writeable = False
    return weights


def quantize_rows(rows: Array, dtype: mx.Dtype, precision: Precision, weights: Array) -> list[Array]:
    """Return packed codes, scales and biases of rows, as `rounding.quantize_rows_each` does for affine.

    `rows` are (rows, columns) as the integers of their bits, `weights` are positive float32, one a column.
    """
    made = quantize_rows_each(rows, dtype, [precision])[0]
    size, bits, _ = precision
    groups = np.ascontiguousarray(rows).reshape(-1, size)
    whole = _Parts(made[0].view(np.uint8).reshape(len(groups), -1), made[1].reshape(-1), made[2].reshape(-1))
    columns = _Columns.of(weights, size)
    with np.errstate(all="ignore"):
        for first in range(0, len(groups), BLOCK // size):
            place = slice(first, first + BLOCK // size)
            turned = Groups.take(groups[place], FORMATS[dtype], _thread.buffers)
            _improve(turned, bits, columns.at(first, len(groups[place])), whole.at(place))
    return made


@dataclass(frozen=True)
class _Parts:
    """What MLX stores of groups, a row or number for each."""

    packed: Array
    scales: Array
    biases: Array

    def at(self, place: slice) -> _Parts:
        """Return those of some groups, in the same memory."""
        return _Parts(self.packed[place], self.scales[place], self.biases[place])


@dataclass(frozen=True)
class _Columns:
    """The weights of columns, turned as groups are, for a row and as many groups more as a block has."""

    weights: Array
    period: int
    """Groups in a row."""

    @classmethod
    def of(cls, weights: Array, size: int) -> _Columns:
        """Repeat the weights, so that a block can begin anywhere in a row."""
        period = len(weights) // size
        groups = weights.reshape(period, size)[np.arange(period + BLOCK // size) % period]
        turned = np.ascontiguousarray(groups.reshape(len(groups), -1, LANES).swapaxes(0, 1))
        return cls(turned.reshape(size // LANES, -1), period)

    def at(self, first: int, count: int) -> Array:
        """Return the weights for `count` groups from the group `first` on."""
        first %= self.period
        return self.weights[:, first * LANES : (first + count) * LANES]


def _improve(groups: Groups, bits: int, weights: Array, parts: _Parts) -> None:
    """Write the groups of a block for which there is something better."""
    number, count = groups.number, len(parts.scales)
    space = _thread.space(len(groups.values) * LANES, count)
    if (values := number.widen(groups.values, space.values)) is not space.values:
        np.copyto(space.values, values)
    np.copyto(space.weights, weights)
    scale, bias = (number.widen(part, np.empty(count, np.float32)) for part in (parts.scales, parts.biases))
    low, high, _ = groups.extremes
    search = Search(space, number, bits)
    best, better = search.run(scale, bias, low, high)
    codes = groups.buffer("codes", np.uint8)
    # The codes of the others may be NaN.
    rounded = search.round(np.where(better, best.scale, np.float32(1)), np.where(better, best.bias, low))
    np.copyto(codes, rounded, casting="unsafe")
    packed = np.empty_like(parts.packed)
    pack(groups, codes, bits, packed.reshape(-1))
    np.copyto(parts.packed, packed, where=better[:, None])
    np.copyto(parts.scales, number.narrow(best.scale), where=better)
    np.copyto(parts.biases, number.narrow(best.bias), where=better)
