"""Quantize weights on the CPU: the bytes of `mx.quantize(..., stream=mx.cpu)`, many times faster.

MLX's CPU kernels (0.32) process one value at a time. Here pieces of an array pass through numpy's vector loops with
the arithmetic of those kernels: IEEE operations that are exact or correctly rounded, so every machine computes the
same bytes. benchmarks/rounding.py compares the speeds.

Groups whose arithmetic differs between machines (NaN, infinity, scales below the normal numbers) go through
`mx.quantize` itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import mlx.core as mx
import numpy as np

from mlx_publish.engine.rounding_formats import FORMATS, Array, Format, Groups, Rounded
from mlx_publish.engine.rounding_modes import affine, mxfp4, mxfp8, nvfp4
from mlx_publish.engine.rounding_packing import pack

PIECE = 3 << 16
"""Values in a piece: its buffers fit a core's second-level cache, and its rows begin in different cache lines."""

_MATRIX = 2
Rounder = Callable[[Groups, int], Rounded]
_MODES: dict[str, tuple[Rounder, frozenset[int], frozenset[int]]] = {
    "affine": (affine, frozenset({32, 64, 128}), frozenset({2, 3, 4, 5, 6, 8})),
    "mxfp4": (mxfp4, frozenset({32}), frozenset({4})),
    "mxfp8": (mxfp8, frozenset({32}), frozenset({8})),
    "nvfp4": (nvfp4, frozenset({16}), frozenset({4})),
}
"""Each mode with the group sizes and bits that MLX accepts."""
_threads = threading.local()


def quantize(weight: mx.array, group_size: int, bits: int, mode: str) -> tuple[mx.array, ...]:
    """Return the arrays that `mx.quantize` returns: packed weights, scales and, if `mode` is affine, biases.

    Evaluates `weight`. Call it from as many threads as there are cores; numpy releases the lock meanwhile. Raises
    what `mx.quantize` raises.
    """
    if not is_supported(weight.dtype, tuple(weight.shape), group_size, bits, mode):
        return tuple(mx.quantize(weight, group_size=group_size, bits=bits, mode=mode, stream=mx.cpu))
    outputs = quantize_rows(_bits_of(weight), weight.dtype, group_size, bits, mode)
    shape = weight.shape[:-1]
    arrays = [mx.array(outputs[0].reshape(*shape, -1))]
    for output in outputs[1:]:
        array = mx.array(output.reshape(*shape, -1))
        arrays.append(mx.view(array, weight.dtype, stream=mx.cpu) if mode == "affine" else array)
    return tuple(arrays)


def quantize_rows(rows: Array, dtype: mx.Dtype, group_size: int, bits: int, mode: str) -> list[Array]:
    """Return the same of rows of floats, which come and go as the integers of their bits.

    `rows` are (rows, columns), and `is_supported`.
    """
    number = FORMATS[dtype]
    values = rows.reshape(-1, group_size)
    packed = np.empty((len(values), group_size * bits // 8), np.uint8)
    scales = np.empty(len(values), number.bits if mode == "affine" else np.uint8)
    outputs = [packed, scales, np.empty_like(scales)] if mode == "affine" else [packed, scales]
    rare = _round(values, number, bits, mode, outputs)
    if len(rare):
        _round_with_mlx(values, number, bits, mode, outputs, rare)
    return [packed.reshape(len(rows), -1).view(np.uint32), *(output.reshape(len(rows), -1) for output in outputs[1:])]


def is_supported(dtype: mx.Dtype, shape: tuple[int, ...], group_size: int, bits: int, mode: str) -> bool:
    """Return whether `quantize_rows` can do it; whatever it cannot is left to MLX, or refused by it."""
    if mode not in _MODES or dtype not in FORMATS or len(shape) < _MATRIX or 0 in shape:
        return False
    _, sizes, widths = _MODES[mode]
    if mode == "nvfp4" and shape[-1] % 32:
        return False  # MLX refuses some of them
    return group_size in sizes and bits in widths and shape[-1] % group_size == 0


def _bits_of(weight: mx.array) -> Array:
    """Return a view of the weight's memory as integers, (rows, columns); numpy has no bfloat16."""
    integers = mx.uint16 if FORMATS[weight.dtype].bits == np.uint16 else mx.uint32
    bits = mx.view(mx.contiguous(weight, stream=mx.cpu), integers, stream=mx.cpu)
    return np.array(bits, copy=False).reshape(-1, weight.shape[-1])


def _round(values: Array, number: Format, bits: int, mode: str, outputs: list[Array]) -> Array:
    """Fill the outputs piece by piece; return the groups that are left to MLX."""
    rounder = _MODES[mode][0]
    rare: list[Array] = []
    with np.errstate(all="ignore"):
        for first, last in _pieces(*values.shape):
            groups = Groups.take(values[first:last], number, _workspace())
            rounded = rounder(groups, bits)
            pack(groups, rounded.codes, bits, outputs[0][first:last].reshape(-1))
            for output, part in zip(outputs[1:], rounded.parameters, strict=True):
                output[first:last] = part
            if rounded.rare.any():
                rare.append(np.flatnonzero(rounded.rare) + first)
    return np.concatenate(rare) if rare else np.empty(0, np.intp)


def _pieces(count: int, group_size: int) -> Iterator[tuple[int, int]]:
    step = PIECE // group_size
    return ((first, min(first + step, count)) for first in range(0, count, step))


def _workspace() -> dict[str, Array]:
    """Return this thread's buffers by name."""
    if not hasattr(_threads, "buffers"):
        _threads.buffers = {}
    buffers: dict[str, Array] = _threads.buffers
    return buffers


def _round_with_mlx(values: Array, number: Format, bits: int, mode: str, outputs: list[Array], rare: Array) -> None:
    """Let MLX quantize single groups; it treats each by itself, but takes those of nvfp4 in pairs only."""
    rare = np.resize(rare, len(rare) + len(rare) % 2)
    weight = mx.view(mx.array(values[rare]), number.dtype, stream=mx.cpu)
    arrays = mx.quantize(weight, group_size=values.shape[1], bits=bits, mode=mode, stream=mx.cpu)
    for output, array in zip(outputs, arrays, strict=True):
        integers = mx.uint8 if output.dtype == np.uint8 else mx.uint16 if output.dtype == np.uint16 else mx.uint32
        part = np.array(mx.view(array, integers, stream=mx.cpu), copy=False)
        output[rare] = part.reshape(len(rare), *output.shape[1:])
