"""Which Mac a model fits, by how much of its memory the GPU may hold."""

from __future__ import annotations

import re

SIZES_GB = (8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)
"""Memory of the Macs with Apple silicon that a table names."""
HEADROOM = 1.15
"""Weights and cache, plus activations and the buffers of a long prompt."""
_MEMORY = re.compile(r"([1-9]\d{0,3}) ?(?:GB|GiB|G)?", re.IGNORECASE)


def memory_gb(text: str) -> int | None:
    """Return the GB of `16GB`, `24 GB` or `36`; None for any other text. A Mac sold with 16 GB has 16 GiB."""
    match = _MEMORY.fullmatch(text.strip())
    return int(match[1]) if match else None


def need(weights: int, cache: int) -> int:
    """Return the bytes that the GPU has to hold for weights and cache."""
    return round((weights + cache) * HEADROOM)


def most_weights_for(memory: int, cache: int = 0) -> int:
    """Return the bytes of weights that a Mac's GPU may hold beside a cache; below 0 where the cache alone is larger."""
    return int(usable(memory) / HEADROOM) - cache


def usable(memory: int) -> int:
    """Return how much of a Mac's memory the GPU may hold: two thirds up to 36 GB, three quarters above.

    These are macOS's defaults for `recommendedMaxWorkingSetSize` of Metal (`mx.device_info` tells it), which hold while
    `sysctl iogpu.wired_limit_mb` is 0; MLX wires no more than that (`mx.set_wired_limit`).
    """
    return memory * 2 // 3 if memory <= 36 << 30 else memory * 3 // 4


def smallest_mac(needed: int) -> int | None:
    """Return the GB of the smallest Mac whose GPU holds weights and cache of so many bytes; None where none does."""
    return next((gb for gb in SIZES_GB if needed * HEADROOM <= usable(gb << 30)), None)
