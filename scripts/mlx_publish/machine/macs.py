"""Which Mac a model fits, by how much of its memory the GPU may hold."""

from __future__ import annotations

SIZES_GB = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)
"""Memory of the Macs with Apple silicon that a table names."""
HEADROOM = 1.15
"""Weights and cache, plus activations and the buffers of a long prompt."""


def usable(memory: int) -> int:
    """Return how much of a Mac's memory the GPU may hold: two thirds up to 36 GB, three quarters above.

    These are macOS's defaults for `recommendedMaxWorkingSetSize`.
    """
    return memory * 2 // 3 if memory <= 36 << 30 else memory * 3 // 4


def smallest_mac(needed: int) -> int | None:
    """Return the GB of the smallest Mac whose GPU holds weights and cache of so many bytes; None where none does."""
    return next((gb for gb in SIZES_GB if needed * HEADROOM <= usable(gb << 30)), None)
