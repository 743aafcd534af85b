"""The arithmetic of `mx.quantize` (MLX 0.32, CPU) for each mode, on whole pieces.

Each function takes a piece and the bits of a value, and returns a code for each value. The operations and their order
are those of MLX's `quantize<T, U>` (backend/cpu/quantized.cpp) and `fp_quantize` (ops.cpp).
"""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_publish.engine.rounding_formats import Array, Groups, Rounded, each_lane

_NEAREST = np.float32(3 << 22)
"""Added to a number between -2^22 and 2^22, it leaves its nearest integer in the lowest bits, ties to even."""
_EPSILON = np.float32(1e-7)
_FP4_STEPS = np.float32([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])
"""A value above the n-th step (in scales) gets at least code n; on a step MLX takes the code before."""
_FP8_NORMAL = np.float32(2**-6)
_FP8_SUBNORMAL = np.float32(2**14)
_FP8_LARGEST, _FP4_LARGEST = np.float32(448), np.float32(6)
_FP8_SCALES = np.append(np.arange(8) / 512, np.outer(2.0 ** np.arange(-6, 9), np.arange(8, 16) / 8)).astype(np.float32)
_FP8_SCALES[0] = np.inf
"""The numbers of e4m3 without sign, as scales: by zero nothing is above a step."""


def affine(groups: Groups, bits: int) -> Rounded:
    """Round to `bits` bits between the smallest and the largest value of a group."""
    low, high, rare = _extremes(groups)
    largest = np.float32((1 << bits) - 1)
    scale = np.maximum((high - low) / largest, _EPSILON)
    below = np.abs(low) > np.abs(high)
    scale = np.where(below, scale, -scale)
    edge = np.where(below, low, high)
    zero = np.rint(edge / scale)
    scale = np.where(zero != 0, edge / zero, scale)
    bias = np.where(zero != 0, edge, np.float32(0))

    codes, widths, starts = groups.buffer("codes", np.uint8), each_lane(scale), each_lane(bias)
    # In bytes the comparison is cheapest, but 256 does not fit one.
    top = np.full(len(widths), largest + _NEAREST if bits == 8 else largest, np.float32 if bits == 8 else np.uint8)
    for rows in groups.blocks():
        values = groups.number.widen(groups.values[rows], groups.buffer("wide", np.float32, rows))
        np.subtract(values, starts, out=values)
        np.divide(values, widths, out=values)
        np.add(values, _NEAREST, out=values)
        if bits == 8:
            np.minimum(values, top, out=values)
        np.copyto(codes[rows], values.view(np.uint32), casting="unsafe")
        if bits < 8:
            np.minimum(codes[rows], top, out=codes[rows])
    narrow = groups.number.narrow
    return Rounded(codes, (narrow(scale), narrow(bias)), rare)


def mxfp4(groups: Groups, _bits: int) -> Rounded:
    """Round to e2m1 with a power of two for each group."""
    largest = _largest_magnitudes(groups)
    scale, parameter, rare = _power_of_two(groups, largest, _FP4_LARGEST)
    return Rounded(_fp4(groups, scale), (parameter,), rare)


def nvfp4(groups: Groups, _bits: int) -> Rounded:
    """Round to e2m1 with an e4m3 number for each group; a group whose scale rounds to zero becomes zero."""
    scale = _divided(groups, _largest_magnitudes(groups), _FP4_LARGEST)
    rare = ~(scale <= _FP8_LARGEST)  # far above the steps, MLX's distances from them are rounded
    parameter = _fp8(np.fmin(scale, _FP8_LARGEST), scale, np.empty_like(scale, np.uint32))
    return Rounded(_fp4(groups, _FP8_SCALES[parameter]), (parameter,), rare)


def mxfp8(groups: Groups, _bits: int) -> Rounded:
    """Round to e4m3 with a power of two for each group."""
    largest = _largest_magnitudes(groups)
    scale, parameter, rare = _power_of_two(groups, largest, _FP8_LARGEST)
    codes, factors = groups.buffer("codes", np.uint8), each_lane(1 / scale)
    for rows in groups.blocks():
        magnitudes, negative = _split(groups, rows)
        values = groups.number.widen(magnitudes, groups.buffer("wide", np.float32, rows))
        np.multiply(values, factors, out=values)
        other, even = groups.buffer("other", np.float32, rows), groups.buffer("even", np.uint32, rows)
        np.left_shift(negative, 7, out=negative)
        np.bitwise_or(_fp8(values, other, even), negative, out=codes[rows])
    return Rounded(codes, (parameter,), rare)


def _extremes(groups: Groups) -> tuple[Array, Array, Array]:
    """Return the smallest and the largest value of each group, and whether one of its values is not finite."""
    values, number = groups.values, groups.number
    if number.dtype == mx.float32:
        low, high = groups.smallest(values.view(np.float32)), groups.largest(values.view(np.float32))
        return low, high, ~(np.isfinite(low) & np.isfinite(high))
    # As signed integers, positive floats sort as they are; as unsigned ones, negative floats sort by their size.
    high, low = groups.largest(values.view(number.signed)), groups.largest(values)
    rare = (high >= number.infinity) | (low >= number.sign | number.infinity)
    if (high < 0).any():
        high = np.where(high < 0, groups.smallest(values.view(number.signed)), high)
    if (low < number.sign).any():
        low = np.where(low < number.sign, groups.smallest(values), low)
    ends = [number.widen(end, np.empty(groups.count, np.float32)) for end in (low, high)]
    return ends[0], ends[1], rare


def _largest_magnitudes(groups: Groups) -> Array:
    """Return the bits of the largest magnitude of each group as signed integers."""
    largest = 0
    for rows in groups.blocks():
        magnitudes = groups.buffer("magnitudes", groups.number.signed, rows)
        np.bitwise_and(groups.values[rows].view(groups.number.signed), groups.number.sign - 1, out=magnitudes)
        largest = np.maximum(largest, groups.largest(magnitudes))
    return largest


def _split(groups: Groups, rows: slice) -> tuple[Array, Array]:
    """Return the magnitudes of rows as signed integers, and the signs: 0 or 1."""
    signed = groups.values[rows].view(groups.number.signed)
    negative = groups.buffer("negative", np.uint8, rows)
    np.less(signed, 0, out=negative.view(np.bool_))
    magnitudes = groups.buffer("magnitudes", groups.number.signed, rows)
    return np.bitwise_and(signed, groups.number.sign - 1, out=magnitudes), negative


def _divided(groups: Groups, largest: Array, by: np.float32) -> Array:
    """Return largest / by, rounded to the weight's type, as float32."""
    number = groups.number
    wide = number.widen(largest, np.empty(groups.count, np.float32))
    return number.widen(number.narrow(wide / by), wide)


def _power_of_two(groups: Groups, largest: Array, by: np.float32) -> tuple[Array, Array, Array]:
    """Return the smallest power of two that is at least largest / by, its e8m0 byte, and which groups MLX must take.

    MLX rounds a logarithm and corrects it upwards, which gives this power as long as the logarithm is wrong by less
    than a half. A group of zeros has the scale 1.
    """
    scale = _divided(groups, largest, by)
    exponent = ((scale.view(np.int32) + 0x7FFFFF) >> 23) - 127
    exponent[scale == 0] = 0
    rare = (largest >= groups.number.infinity) | (exponent < groups.number.least)
    return ((exponent + 127) << 23).view(np.float32), (exponent + 127).astype(np.uint8), rare


def _fp4(groups: Groups, scale: Array) -> Array:
    """Return the codes of e2m1: how many steps a magnitude exceeds, and a sign where that is not zero.

    MLX divides by the scale and rounds to the weight's type. The quotient is above a step exactly where the magnitude
    is above the product of step and scale, which every type holds exactly.
    """
    number = groups.number
    limits = [each_lane(number.narrow(scale * step).view(number.signed)) for step in _FP4_STEPS]
    codes = groups.buffer("codes", np.uint8)
    for rows in groups.blocks():
        magnitudes, negative = _split(groups, rows)
        block, above = codes[rows], groups.buffer("above", np.uint8, rows)
        np.greater(magnitudes, limits[0], out=block.view(np.bool_))
        np.bitwise_and(negative, block, out=negative)
        for limit in limits[1:]:
            np.greater(magnitudes, limit, out=above.view(np.bool_))
            np.add(block, above, out=block)
        np.left_shift(negative, 3, out=negative)
        np.bitwise_or(block, negative, out=block)
    return codes


def _fp8(values: Array, other: Array, even: Array) -> Array:
    """Return the codes of e4m3 for float32 numbers from 0 to 448, ties to even. Changes all its arguments."""
    limit = np.full(values.shape[-1], _FP8_NORMAL)
    np.minimum(values, limit, out=other)
    np.maximum(values, limit, out=values)
    np.add(other, _FP8_SUBNORMAL, out=other)  # its lowest bits count multiples of 2^-9, up to 8
    bits = values.view(np.uint32)
    np.right_shift(bits, 20, out=even)
    np.bitwise_and(even, 1, out=even)
    np.add(bits, even, out=bits)
    np.add(bits, 0x7FFFF - (121 << 23) & 0xFFFFFFFF, out=bits)
    np.right_shift(bits, 20, out=bits)  # how far the number is above the smallest normal one
    np.add(bits, other.view(np.uint32), out=bits)
    return bits.astype(np.uint8)
