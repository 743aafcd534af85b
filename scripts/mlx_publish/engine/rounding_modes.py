"""The arithmetic of `mx.quantize` (MLX 0.32, CPU) for each mode, on whole pieces.

Each function takes a piece and the bits of a value, and returns a code for each value. The operations and their order
are those of MLX's `quantize<T, U>` (backend/cpu/quantized.cpp) and `fp_quantize` (ops.cpp).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mlx_publish.engine.rounding_formats import Array, Groups, Rounded, each_lane

_NEAREST = np.float32(3 << 22)
"""Added to a number between -2^22 and 2^22, it leaves its nearest integer in the lowest bits, ties to even."""
_EPSILON = np.float32(1e-7)
_FP4_STEPS = ((0.25, 1), (0.75, 1), (1.25, 3), (1.75, 2))
"""Steps with how many of their doubles, themselves included, are steps too, in scales.

A value above the n-th step gets at least code n; on a step MLX takes the code before.
"""
_FP8_NORMAL = np.float32(2**-6)
_FP8_SUBNORMAL = np.float32(2**14)
FP8_LARGEST, FP4_LARGEST = np.float32(448), np.float32(6)
_FP8_TOP = 0x7E
_FP8_SCALES = np.append(np.arange(8) / 512, np.outer(2.0 ** np.arange(-6, 9), np.arange(8, 16) / 8)).astype(np.float32)
_FP8_SCALES[0] = 1 << 10
"""The positive numbers of e4m3; in place of zero, one that leaves everything with the code zero below all steps."""


def affine(groups: Groups, bits: int) -> Rounded:
    """Round to `bits` bits between the smallest and the largest value of a group."""
    low, high, rare = groups.extremes
    largest, edge = np.float32((1 << bits) - 1), groups.edge
    scale = (high - low) / largest
    np.maximum(scale, np.full_like(scale, _EPSILON), out=scale)
    scale = np.where(groups.below, scale, -scale)
    zero = np.rint(edge / scale)
    if not zero.all():
        rare = rare | (zero == 0) & (edge != 0)  # MLX's bias is zero then
        scale = np.where(zero != 0, edge / zero, scale)
    else:
        np.divide(edge, zero, out=scale)

    values = groups.buffer("scaled", np.float32)
    np.divide(groups.centred, each_lane(scale), out=values)
    np.add(values, _NEAREST, out=values)
    if bits == 8:  # 256 does not fit a byte
        np.minimum(values, np.full(values.shape[1], largest + _NEAREST, np.float32), out=values)
    codes = groups.buffer("codes", np.uint8)
    np.copyto(codes, values.view(np.uint32), casting="unsafe")
    if bits < 8:
        np.minimum(codes, np.full(values.shape[1], largest, np.uint8), out=codes)
    return Rounded(codes, (groups.number.narrow(scale), groups.number.narrow_exactly(edge)), rare)


def mxfp4(groups: Groups, _bits: int) -> Rounded:
    """Round to e2m1 with a power of two for each group."""
    magnitudes, largest = groups.magnitudes
    scale, parameter, rare = _power_of_two(groups, largest, FP4_LARGEST, groups.number.least)
    return Rounded(_fp4(groups, magnitudes, scale), (parameter,), rare)


def nvfp4(groups: Groups, _bits: int) -> Rounded:
    """Round to e2m1 with an e4m3 number for each group; a group whose scale rounds to zero becomes zero."""
    magnitudes, largest = groups.magnitudes
    scale = _divided(groups, largest, FP4_LARGEST)
    rare = ~(scale <= FP8_LARGEST)  # far above the steps, MLX's distances from them are rounded
    parameter = _fp8(np.fmin(scale, FP8_LARGEST), scale, np.empty_like(scale, np.uint32))
    return Rounded(_fp4(groups, magnitudes, _FP8_SCALES[parameter]), (parameter,), rare)


def mxfp8(groups: Groups, _bits: int) -> Rounded:
    """Round to e4m3 with a power of two for each group."""
    magnitudes, largest = groups.magnitudes
    scale, parameter, rare = _power_of_two(groups, largest, FP8_LARGEST, -100)
    values = groups.buffer("scaled", np.float32)
    np.multiply(groups.number.widen(magnitudes, values), each_lane(1 / scale), out=values)
    codes = _fp8(values, groups.buffer("other", np.float32), groups.buffer("even", np.uint32))
    # A scale below the normal numbers of float16 may be a third too small.
    np.minimum(codes, np.full(codes.shape[1], _FP8_TOP, np.uint8), out=codes)
    return Rounded(_signed(codes, _negative(groups), 7), (parameter,), rare)


def _divided(groups: Groups, largest: Array, by: np.float32) -> Array:
    """Return largest / by, rounded to the weight's type, as float32."""
    number = groups.number
    wide = number.widen(largest, np.empty(len(largest), np.float32))
    return number.widen(number.narrow(wide / by), wide)


def _power_of_two(groups: Groups, largest: Array, by: np.float32, least: int) -> tuple[Array, Array, Array]:
    """Return the smallest power of two that is at least largest / by, its e8m0 byte, and which groups MLX takes.

    MLX rounds a logarithm and corrects it upwards, which gives this power as long as the logarithm is wrong by less
    than a half. A group of zeros has the scale 1. Below the exponent `least` MLX takes the group.
    """
    scale = _divided(groups, largest, by)
    exponent = ((scale.view(np.int32) + 0x7FFFFF) >> 23) - 127
    exponent = np.where(scale == 0, 0, exponent)
    rare = (largest >= groups.number.infinity) | (exponent < least)
    return ((exponent + 127) << 23).view(np.float32), (exponent + 127).astype(np.uint8), rare


def _fp4(groups: Groups, magnitudes: Array, scale: Array) -> Array:
    """Return the codes of e2m1: how many steps a magnitude exceeds, and a sign where that is not zero.

    MLX divides by the scale and rounds to the weight's type. The quotient is above a step exactly where the magnitude
    is above the product of step and scale, which every type holds exactly.
    """
    codes, above = groups.buffer("codes", np.uint8), groups.buffer("above", np.uint8)
    limits = _limits(groups, scale)
    np.greater(magnitudes, next(limits), out=codes.view(np.bool_))
    negative = _negative(groups)
    np.bitwise_and(negative, codes, out=negative)
    for limit in limits:
        np.greater(magnitudes, limit, out=above.view(np.bool_))
        np.add(codes, above, out=codes)
    return _signed(codes, negative, 3)


def _limits(groups: Groups, scale: Array) -> Iterator[Array]:
    """Yield the products of scale and step as bits."""
    number = groups.number
    if scale.min() < number.normal:  # below the normal numbers, an octave is no fixed distance of bits
        steps = tuple((step * 2**octave, 1) for step, octaves in _FP4_STEPS for octave in range(octaves))
    else:
        steps = _FP4_STEPS
    for step, octaves in steps:
        limit = each_lane(number.narrow_exactly(scale * np.float32(step)).view(number.signed))
        for octave in range(octaves):
            yield np.add(limit, octave * number.octave)


def _negative(groups: Groups) -> Array:
    negative = groups.buffer("negative", np.uint8)
    np.less(groups.values.view(groups.number.signed), 0, out=negative.view(np.bool_))
    return negative


def _signed(codes: Array, negative: Array, place: int) -> Array:
    """Set bit `place` of codes where `negative` is 1."""
    words = negative.view(np.uint64)  # numpy shifts bytes one by one
    np.left_shift(words, place, out=words)
    return np.bitwise_or(codes, negative, out=codes)


def _fp8(values: Array, other: Array, even: Array) -> Array:
    """Return the codes of e4m3 for float32 numbers from 0 to 1000, ties to even. Changes all its arguments."""
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


def e4m3(values: Array) -> Array:
    """Return the codes of e4m3 for float32 numbers from 0 to 448, (rows, columns), ties to even."""
    return _fp8(values.copy(), np.empty_like(values), np.empty(values.shape, np.uint32))
