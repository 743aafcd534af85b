"""Groups of mxfp4 and mxfp8 that are so near zero that MLX has no scale for them.

The byte of a scale holds exponents from -127 on. MLX (0.32) casts smaller ones to it, which C++ leaves open: on x86-64
they wrap around to scales that unpack to infinity, on arm64 they depend on where the group lies. Here such a group has
the smallest scale, and its codes are those of that scale: the same on every machine, and wrong by less than 2^-128.
"""

from __future__ import annotations

import numpy as np

from mlx_publish.engine.rounding_formats import Array, Format
from mlx_publish.engine.rounding_modes import FP4_LARGEST, FP8_LARGEST, e4m3

_LEAST = 2.0**-127
_FP4_STEPS = (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)
_LARGEST = {"mxfp4": FP4_LARGEST, "mxfp8": FP8_LARGEST}


def are_tiny(groups: Array, number: Format, mode: str) -> Array:
    """Return which of the groups, (groups, size) as bits, would have a scale that no byte holds."""
    if mode not in _LARGEST:
        return np.zeros(len(groups), np.bool_)
    with np.errstate(invalid="ignore"):  # a group with NaN is none
        largest = np.abs(_values(groups, number)).max(axis=1).astype(np.float32)
        scale = number.widen(number.narrow(largest / _LARGEST[mode]), largest)
        return (scale > 0) & (scale <= _LEAST / 2)


def quantize_tiny(groups: Array, number: Format, mode: str) -> tuple[Array, Array]:
    """Return packed codes and scales of such groups."""
    steps = _values(groups, number) / _LEAST
    negative = steps < 0
    if mode == "mxfp8":
        codes = e4m3(np.abs(steps).astype(np.float32)) | (negative.astype(np.uint8) << 7)
        return codes, np.zeros(len(groups), np.uint8)
    codes = sum(((np.abs(steps) > step).astype(np.uint8) for step in _FP4_STEPS), np.zeros(steps.shape, np.uint8))
    codes |= (negative & (codes > 0)).astype(np.uint8) << 3
    return codes[:, 0::2] | (codes[:, 1::2] << 4), np.zeros(len(groups), np.uint8)


def _values(groups: Array, number: Format) -> Array:
    """Return the values in float64, in which nothing below is rounded."""
    return number.widen(groups, np.empty(groups.shape, np.float32)).astype(np.float64)
