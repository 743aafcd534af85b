"""Floats of 8 and 4 bits as the numbers that their bytes stand for."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

_FORMATS = {"e4m3": (4, 3, 7), "e5m2": (5, 2, 15), "e2m1": (2, 1, 1)}
"""Bits of the exponent and of the fraction, and the bias of the exponent."""


@functools.cache
def table(kind: str) -> NDArray[np.float32]:
    """Return the number of each code, float32: (256,), or (16,) for `e2m1`. `e8m0` is a power of two, 255 is NaN.

    E4M3 has NaN and no infinity, E5M2 has both, E2M1 neither. Source: OCP 8-bit floating point specification (the
    variants that PyTorch calls float8_e4m3fn and float8_e5m2) and OCP microscaling formats 1.0.
    """
    if kind == "e8m0":
        powers: NDArray[np.float32] = np.ldexp(np.float32(1), np.arange(256) - 127).astype(np.float32)
        powers[255] = np.nan
        return powers
    exponent_bits, fraction_bits, bias = _FORMATS[kind]
    sign = exponent_bits + fraction_bits
    codes = np.arange(2 << sign)
    exponent = codes >> fraction_bits & (1 << exponent_bits) - 1
    fraction = (codes & (1 << fraction_bits) - 1) / (1 << fraction_bits)
    values = np.where(exponent > 0, (1 + fraction) * 2.0 ** (exponent - bias), fraction * 2.0 ** (1 - bias))
    magnitudes = codes & (1 << sign) - 1
    if kind == "e4m3":
        values[magnitudes == 0x7F] = np.nan
    elif kind == "e5m2":
        values[magnitudes == 0x7C] = np.inf
        values[magnitudes > 0x7C] = np.nan
    return np.where(codes >> sign, -values, values).astype(np.float32)


@functools.cache
def pairs() -> NDArray[np.float32]:
    """Return the two numbers of a byte that holds two of `e2m1`, the lower half first, (256, 2)."""
    codes, numbers = np.arange(256), table("e2m1")
    return np.stack([numbers[codes & 15], numbers[codes >> 4]], axis=1)
