"""What of this machine a run may take: memory, cores, BLAS."""

from __future__ import annotations

import os
from functools import cache

from mlx_publish.machine import nvidia
from mlx_publish.machine.packages import computes_by
from mlx_publish.machine.programs import run_program


def side_by_side(count: int, bytes_each: int) -> int:
    """Return how many jobs may run at once: on a GPU one, on the CPU as many as cores and memory allow."""
    if computes_by() != "cpu":
        return 1
    fitting = int(0.6 * memory_bytes() // max(bytes_each, 1))
    return max(1, min(count, os.cpu_count() or 1, fitting))


def most_weights() -> int:
    """Return how many bytes of weights may be computed with: half of the memory.

    An NVIDIA GPU has memory of its own, which nobody else needs: three quarters of it, if that is less.
    """
    if computes_by() == "cuda" and (own := _gpu_memory()):
        return min(memory_bytes() // 2, own * 3 // 4)
    return memory_bytes() // 2


def learning_bytes() -> int:
    """Return how many bytes a method that learns may take: three quarters of the memory, or nine tenths of a GPU's."""
    if computes_by() == "cuda" and (own := _gpu_memory()):
        return min(memory_bytes() * 3 // 4, own * 9 // 10)
    return memory_bytes() * 3 // 4


@cache
def _gpu_memory() -> int | None:
    """Return the memory of an NVIDIA GPU; None where it is not known, or is the machine's."""
    gpu = nvidia.describe(run_program)
    return gpu.memory_bytes if gpu else None


def memory_bytes() -> int:
    """Return the memory of this machine in bytes, or the part of it that MLX_PUBLISH_MEMORY_BYTES leaves to us."""
    if (given := os.environ.get("MLX_PUBLISH_MEMORY_BYTES", "")).isdigit():
        return int(given)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
