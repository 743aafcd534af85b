"""Quantize weights on the CPU: the bytes of `mx.quantize(..., stream=mx.cpu)`, many times faster.

MLX's CPU kernels (0.32) process one value at a time. Here pieces of an array pass through numpy's vector loops with
the arithmetic of those kernels: IEEE operations that are exact or correctly rounded, so every machine computes the
same bytes. benchmarks/rounding.py compares the speeds.

Groups whose arithmetic differs between machines (NaN, infinity, scales below the normal numbers) go through
`mx.quantize` itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from mlx_publish.engine.rounding_formats import FORMATS, Array, Format, Groups, Rounded
from mlx_publish.engine.rounding_modes import affine, mxfp4, mxfp8, nvfp4
from mlx_publish.engine.rounding_packing import pack

PIECE = 5 << 16
"""Values in a piece: its buffers fit a core's second-level cache, and its rows begin in different cache lines."""

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


def quantize(weight: mx.array, group_size: int, bits: int, mode: str) -> tuple[mx.array, ...]:
    """Return the arrays that `mx.quantize` returns: packed weights, scales and, if `mode` is affine, biases.

    Evaluates `weight`. Raises what `mx.quantize` raises.
    """
    return quantize_each(weight, [Precision(group_size, bits, mode)])[0]


def quantize_each(weight: mx.array, precisions: Sequence[Precision]) -> list[tuple[mx.array, ...]]:
    """Quantize a weight several times; what the precisions share is computed once.

    Call it from as many threads as there are cores: numpy lets the others run, and each has its own buffers.
    """
    known = [_Output.empty(weight, precision) if precision.fits(weight) else None for precision in precisions]
    outputs = [output for output in known if output]
    if outputs:
        _round(_bits_of(weight), FORMATS[weight.dtype], outputs)
    return [
        output.arrays(weight)
        if output
        else tuple(mx.quantize(weight, group_size=size, bits=bits, mode=mode, stream=mx.cpu))
        for output, (size, bits, mode) in zip(known, precisions, strict=True)
    ]


def _bits_of(weight: mx.array) -> Array:
    """Return a flat view of the weight's memory as integers; numpy has no bfloat16."""
    integers = _INTEGERS[np.dtype(FORMATS[weight.dtype].bits)]
    bits = mx.view(mx.contiguous(weight, stream=mx.cpu), integers, stream=mx.cpu)
    return np.array(bits, copy=False).reshape(-1)


def _round(values: Array, number: Format, outputs: Sequence[_Output]) -> None:
    """Fill the outputs piece by piece."""
    if not hasattr(_threads, "buffers"):
        _threads.buffers = {}
    with np.errstate(all="ignore"):
        for first in range(0, len(values), PIECE):
            piece = values[first : first + PIECE]
            turned: dict[int, Groups] = {}
            for output in outputs:
                size = output.precision.group_size
                if size not in turned:
                    turned[size] = Groups.take(piece.reshape(-1, size), number, _threads.buffers)
                output.fill(first // size, turned[size])
    for output in outputs:
        output.finish(values, number)


class Precision(NamedTuple):
    """The arguments of `mx.quantize`."""

    group_size: int
    bits: int
    mode: str

    def fits(self, weight: mx.array) -> bool:
        """Return whether this module can do it; where MLX refuses, it cannot."""
        if self.mode not in _MODES or weight.dtype not in FORMATS or weight.ndim < 2 or weight.size == 0:
            return False
        _, sizes, widths = _MODES[self.mode]
        if weight.shape[-1] % self.group_size or (self.mode == "nvfp4" and weight.size % 32):
            return False
        return self.group_size in sizes and self.bits in widths


@dataclass
class _Output:
    """What `mx.quantize` returns, as integers, a row for each group; and the groups that are left to MLX."""

    precision: Precision
    packed: Array
    parameters: list[Array]
    rare: list[Array] = field(default_factory=list)

    @classmethod
    def empty(cls, weight: mx.array, precision: Precision) -> _Output:
        """Make room."""
        size, bits, mode = precision
        count = weight.size // size
        packed = np.empty((count, size * bits // 8), np.uint8)
        if mode == "affine":
            return cls(precision, packed, [np.empty(count, FORMATS[weight.dtype].bits) for _ in range(2)])
        return cls(precision, packed, [np.empty(count, np.uint8)])

    def fill(self, first: int, groups: Groups) -> None:
        """Quantize a piece that begins at the group `first`."""
        rounded = _MODES[self.precision.mode][0](groups, self.precision.bits)
        place = slice(first, first + len(rounded.rare))
        for output, part in zip(self.parameters, rounded.parameters, strict=True):
            output[place] = part
        if rounded.rare.any():
            self.rare.append(np.flatnonzero(rounded.rare) + first)
        pack(groups, rounded.codes, self.precision.bits, self.packed[place].reshape(-1))

    def finish(self, values: Array, number: Format) -> None:
        """Let MLX quantize the rare groups; it treats each by itself, but takes those of nvfp4 in pairs only."""
        if not self.rare:
            return
        size, bits, mode = self.precision
        rare = np.concatenate(self.rare)
        rare = np.resize(rare, len(rare) + len(rare) % 2)
        weight = mx.view(mx.array(values.reshape(-1, size)[rare]), number.dtype, stream=mx.cpu)
        arrays = mx.quantize(weight, group_size=size, bits=bits, mode=mode, stream=mx.cpu)
        for output, array in zip((self.packed, *self.parameters), arrays, strict=True):
            part = np.array(mx.view(array, _INTEGERS[output.dtype], stream=mx.cpu), copy=False)
            output[rare] = part.reshape(len(rare), *output.shape[1:])

    def arrays(self, weight: mx.array) -> tuple[mx.array, ...]:
        """Return them as MLX's arrays."""
        shape = (*weight.shape[:-1], -1)
        packed = mx.array(self.packed.view(np.uint32).reshape(shape))
        parameters = [mx.array(output.reshape(shape)) for output in self.parameters]
        if self.precision.mode == "affine":
            parameters = [mx.view(array, weight.dtype, stream=mx.cpu) for array in parameters]
        return packed, *parameters
