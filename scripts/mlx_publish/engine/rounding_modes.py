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
_FP4_STEPS = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)
"""A value above the n-th step (in scales) gets at least code n; on a step MLX takes the code before."""
_FP8_NORMAL = np.float32(2**-6)
_FP8_SUBNORMAL = np.float32(2**14)
_FP8_LARGEST, _FP4_LARGEST = np.float32(448), np.float32(6)
_FP8_VALUES = np.append(np.arange(8) / 512, np.outer(2.0 ** np.arange(-6, 9), np.arange(8, 16) / 8)).astype(np.float32)
_FP8_VALUES[0] = np.inf
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

    values = groups.number.widen(groups.values, groups.buffer("wide", np.float32))
    np.subtract(values, each_lane(bias), out=values)
    np.divide(values, each_lane(scale), out=values)
    np.add(values, _NEAREST, out=values)
    if bits == 8:  # 256 would not fit a byte
        np.minimum(values, np.full(values.shape[1], _NEAREST + largest), out=values)
    codes = groups.buffer("codes", np.uint8)
    np.copyto(codes, values.view(np.uint32), casting="unsafe")
    if bits < 8:
        np.minimum(codes, np.full(values.shape[1], largest, np.uint8), out=codes)
    narrow = groups.number.narrow
    return Rounded(codes, (narrow(scale), narrow(bias)), rare)


def mxfp4(groups: Groups, _bits: int) -> Rounded:
    """Round to e2m1 with a power of two for every group."""
    magnitudes, negative, largest = _magnitudes(groups)
    scale, parameter, rare = _power_of_two(groups, largest, _FP4_LARGEST)
    return Rounded(_fp4(groups, magnitudes, negative, scale), (parameter,), rare)


def nvfp4(groups: Groups, _bits: int) -> Rounded:
    """Round to e2m1 with an e4m3 number for every group; a group whose scale rounds to zero becomes zero."""
    magnitudes, negative, largest = _magnitudes(groups)
    wide = _divided(groups, largest, _FP4_LARGEST)
    rare = ~(wide <= _FP8_LARGEST)  # MLX's differences from the steps are rounded then
    parameter = _fp8(np.fmin(wide, _FP8_LARGEST), wide, np.empty_like(wide, np.uint32))
    scale = _FP8_VALUES[parameter]
    return Rounded(_fp4(groups, magnitudes, negative, scale), (parameter,), rare)


def mxfp8(groups: Groups, _bits: int) -> Rounded:
    """Round to e4m3 with a power of two for every group."""
    magnitudes, negative, largest = _magnitudes(groups)
    scale, parameter, rare = _power_of_two(groups, largest, _FP8_LARGEST)
    values = groups.number.widen(magnitudes, groups.buffer("wide", np.float32))
    np.multiply(values, each_lane(1 / scale), out=values)
    codes = _fp8(values, groups.buffer("other", np.float32), groups.buffer("even", np.uint32))
    np.left_shift(negative, 7, out=negative)
    np.bitwise_or(codes, negative, out=codes)
    return Rounded(codes, (parameter,), rare)


def _extremes(groups: Groups) -> tuple[Array, Array, Array]:
    """Return the smallest and the largest value of each group, and whether one of its values is not finite."""
    values, number = groups.values, groups.number
    if number.dtype == mx.float32:
        low, high = groups.least(values.view(np.float32)), groups.most(values.view(np.float32))
        return low, high, ~(np.isfinite(low) & np.isfinite(high))
    # As signed integers, positive floats sort as they are; as unsigned ones, negative floats sort by their size.
    high, low = groups.most(values.view(number.signed)), groups.most(values)
    rare = (high >= number.infinity) | (low >= number.sign | number.infinity)
    if (high < 0).any():
        high = np.where(high < 0, groups.least(values.view(number.signed)), high)
    if (low < number.sign).any():
        low = np.where(low < number.sign, groups.least(values), low)
    ends = (number.widen(end.view(number.bits), np.empty(groups.count, np.float32)) for end in (low, high))
    return next(ends), next(ends), rare


def _magnitudes(groups: Groups) -> tuple[Array, Array, Array]:
    """Return the values without signs as signed integers, the signs (0 or 1), and each group's largest magnitude."""
    signed = groups.values.view(groups.number.signed)
    negative = groups.buffer("negative", np.uint8)
    np.less(signed, 0, out=negative.view(np.bool_))
    np.bitwise_and(signed, groups.number.sign - 1, out=signed)
    return signed, negative, groups.most(signed)


def _divided(groups: Groups, largest: Array, by: np.float32) -> Array:
    """Return largest / by, rounded to the weight's type, as float32."""
    number = groups.number
    wide = number.widen(largest.view(number.bits), np.empty(groups.count, np.float32))
    return number.widen(number.narrow(wide / by), wide)


def _power_of_two(groups: Groups, largest: Array, by: np.float32) -> tuple[Array, Array, Array]:
    """Return the smallest power of two that is at least largest / by, its e8m0 byte, and which groups MLX must take.

    MLX rounds a logarithm and corrects it upwards, which is this power for every logarithm that is wrong by less than
    a half. A group of zeros has the scale 1.
    """
    scale = _divided(groups, largest, by)
    exponent = ((scale.view(np.int32) + 0x7FFFFF) >> 23) - 127
    exponent[scale == 0] = 0
    rare = (largest >= groups.number.infinity) | (exponent < groups.number.least)
    return ((exponent + 127) << 23).view(np.float32), (exponent + 127).astype(np.uint8), rare


def _fp4(groups: Groups, magnitudes: Array, negative: Array, scale: Array) -> Array:
    """Return the codes of e2m1: how many steps a magnitude exceeds, and a sign where that is not zero.

    MLX divides by the scale and rounds to the weight's type; the quotient is above a step exactly where the magnitude
    is above the product of step and scale, which both types hold exactly.
    """
    codes, above = groups.buffer("codes", np.uint8), groups.buffer("above", np.uint8)
    for place, step in enumerate(_FP4_STEPS):
        limit = each_lane(groups.number.narrow(scale * np.float32(step)).view(groups.number.signed))
        np.greater(magnitudes, limit, out=(above if place else codes).view(np.bool_))
        if place:
            np.add(codes, above, out=codes)
        else:
            np.bitwise_and(negative, codes, out=negative)
    np.left_shift(negative, 3, out=negative)
    return np.bitwise_or(codes, negative, out=codes)


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
