"""Quantize weights on the CPU: the bytes of `mx.quantize(..., stream=mx.cpu)`, many times faster.

MLX's CPU kernels (0.32) process one value at a time. Here pieces of an array pass through numpy's vector loops with
the arithmetic of those kernels: IEEE operations that are exact or correctly rounded, so every machine computes the
same bytes. Time relative to MLX's (benchmarks/rounding.py): 0.01 to 0.05 for mxfp4 and nvfp4, 0.1 to 0.5 for mxfp8, 0.4
to 0.7 for affine, 0.8 to 1 for affine from float32; 0.3 to 0.5 for three precisions at once.

`mx.quantize` itself takes the groups whose arithmetic is not defined everywhere, or not by the scale alone: with NaN or
infinity, with scales near or below the smallest normal number, and all values below 5e-8 (affine).

Call it from as many threads as there are cores, with a million values a call or more: numpy lets the other threads run,
and each has its own buffers, some 20 bytes for each value of `PIECE`. Where possible, hand rows over as numpy's
integers: each new array of MLX costs a page fault for every 4 KiB, which can take longer than the arithmetic.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from mlx_publish.engine.rounding_formats import FORMATS, Array, Groups, Rounded
from mlx_publish.engine.rounding_modes import affine, mxfp4, mxfp8, nvfp4
from mlx_publish.engine.rounding_packing import pack
from mlx_publish.engine.rounding_tiny import are_tiny, quantize_tiny

PIECE = 10 << 16
"""Values in a piece: few enough for a core's cache, enough for the calls on one number a group to count little."""

_MATRIX = 2
Rounder = Callable[[Groups, int], Rounded]
_MODES: dict[str, tuple[Rounder, frozenset[int], frozenset[int]]] = {
    "affine": (affine, frozenset({32, 64, 128}), frozenset({2, 3, 4, 5, 6, 8})),
    "mxfp4": (mxfp4, frozenset({32}), frozenset({4})),
    "mxfp8": (mxfp8, frozenset({32}), frozenset({8})),
    "nvfp4": (nvfp4, frozenset({16}), frozenset({4})),
}
"""Each mode with the group sizes and bits that MLX accepts."""
_INTEGERS = {np.dtype(np.uint8): mx.uint8, np.dtype(np.uint16): mx.uint16, np.dtype(np.uint32): mx.uint32}
_threads = threading.local()


class Precision(NamedTuple):
    """The arguments of `mx.quantize`."""

    group_size: int
    bits: int
    mode: str


def quantize(weight: mx.array, group_size: int, bits: int, mode: str) -> tuple[mx.array, ...]:
    """Return the arrays that `mx.quantize` returns: packed weights, scales and, if `mode` is affine, biases.

    Evaluates `weight`. Raises what `mx.quantize` raises.
    """
    if not is_supported(weight.dtype, tuple(weight.shape), group_size, bits, mode):
        return tuple(mx.quantize(weight, group_size=group_size, bits=bits, mode=mode, stream=mx.cpu))
    precision = Precision(group_size, bits, mode)
    packed, *parameters = quantize_rows_each(_bits_of(weight), weight.dtype, [precision])[0]
    shape = (*weight.shape[:-1], -1)
    arrays = [mx.array(output.reshape(shape)) for output in parameters]
    if mode == "affine":
        arrays = [mx.view(array, weight.dtype, stream=mx.cpu) for array in arrays]
    return mx.array(packed.reshape(shape)), *arrays


def quantize_rows_each(rows: Array, dtype: mx.Dtype, precisions: Sequence[Precision]) -> list[list[Array]]:
    """Return what `quantize` returns for each precision; what they share is computed once.

    `rows` are (rows, columns), and `is_supported`; floats come and go as the integers of their bits.
    """
    values = np.ascontiguousarray(rows).reshape(-1)
    outputs = [_Output.empty(values.size, dtype, precision) for precision in precisions]
    if not hasattr(_threads, "buffers"):
        _threads.buffers = {}
    with np.errstate(all="ignore"):
        for first in range(0, values.size, PIECE):
            piece = values[first : first + PIECE]
            turned: dict[int, Groups] = {}
            for output in outputs:
                size = output.precision.group_size
                if size not in turned:
                    turned[size] = Groups.take(piece.reshape(-1, size), FORMATS[dtype], _threads.buffers)
                output.fill(first // size, turned[size])
    for output in outputs:
        output.finish(values, dtype)
    parts = ((output.packed.view(np.uint32), *output.rest) for output in outputs)
    return [[part.reshape(len(rows), -1) for part in each] for each in parts]


def is_supported(dtype: mx.Dtype, shape: tuple[int, ...], group_size: int, bits: int, mode: str) -> bool:
    """Return whether `quantize_rows_each` can do it; whatever it cannot is left to MLX, or refused by it."""
    if mode not in _MODES or dtype not in FORMATS or len(shape) < _MATRIX or 0 in shape:
        return False
    if mode == "nvfp4" and np.prod(shape) % 32:
        return False  # MLX refuses an odd number of groups
    _, sizes, widths = _MODES[mode]
    return group_size in sizes and bits in widths and shape[-1] % group_size == 0


def _bits_of(weight: mx.array) -> Array:
    """Return a view of the weight's memory as integers, (rows, columns); numpy has no bfloat16."""
    integers = _INTEGERS[np.dtype(FORMATS[weight.dtype].bits)]
    bits = mx.view(mx.contiguous(weight, stream=mx.cpu), integers, stream=mx.cpu)
    return np.array(bits, copy=False).reshape(-1, weight.shape[-1])


@dataclass
class _Output:
    """What `mx.quantize` returns, as integers, a row for each group; and the groups that are left to MLX."""

    precision: Precision
    packed: Array
    rest: list[Array]
    """Scales, and biases if the mode has them."""
    rare: list[Array] = field(default_factory=list)

    @classmethod
    def empty(cls, values: int, dtype: mx.Dtype, precision: Precision) -> _Output:
        """Make room for a number of values."""
        size, bits, mode = precision
        packed = np.empty((values // size, size * bits // 8), np.uint8)
        if mode == "affine":
            return cls(precision, packed, [np.empty(len(packed), FORMATS[dtype].bits) for _ in range(2)])
        return cls(precision, packed, [np.empty(len(packed), np.uint8)])

    def fill(self, first: int, groups: Groups) -> None:
        """Quantize a piece that begins at the group `first`."""
        rounded = _MODES[self.precision.mode][0](groups, self.precision.bits)
        place = slice(first, first + len(rounded.rare))
        for output, part in zip(self.rest, rounded.parameters, strict=True):
            output[place] = part
        if rounded.rare.any():
            self.rare.append(np.flatnonzero(rounded.rare) + first)
        pack(groups, rounded.codes, self.precision.bits, self.packed[place].reshape(-1))

    def finish(self, values: Array, dtype: mx.Dtype) -> None:
        """Quantize the rare groups. MLX treats each by itself, but takes those of nvfp4 in pairs only."""
        if not self.rare:
            return
        size, number, rare = self.precision.group_size, FORMATS[dtype], np.concatenate(self.rare)
        groups = values.reshape(-1, size)
        tiny = are_tiny(groups[rare], number, self.precision.mode)
        if tiny.any():
            made = quantize_tiny(groups[rare[tiny]], number, self.precision.mode)
            for output, part in zip((self.packed, *self.rest), made, strict=True):
                output[rare[tiny]] = part
        if not tiny.all():
            self._leave_to_mlx(groups, rare[~tiny], dtype)

    def _leave_to_mlx(self, groups: Array, rare: Array, dtype: mx.Dtype) -> None:
        size, bits, mode = self.precision
        rare = np.resize(rare, len(rare) + len(rare) % 2)
        weight = mx.view(mx.array(groups[rare]), dtype, stream=mx.cpu)
        arrays = mx.quantize(weight, group_size=size, bits=bits, mode=mode, stream=mx.cpu)
        for output, array in zip((self.packed, *self.rest), arrays, strict=True):
            part = np.array(mx.view(array, _INTEGERS[output.dtype], stream=mx.cpu), copy=False)
            output[rare] = part.reshape(len(rare), *output.shape[1:])
