"""What of this machine a run may take: memory, cores, BLAS."""

from __future__ import annotations

import os

from mlx_publish.machine.packages import computes_by


def side_by_side(count: int, bytes_each: int) -> int:
    """Return how many jobs may run at once: on a GPU one, on the CPU as many as cores and memory allow."""
    if computes_by() != "cpu":
        return 1
    fitting = int(0.6 * memory_bytes() // max(bytes_each, 1))
    return max(1, min(count, os.cpu_count() or 1, fitting))


def memory_bytes() -> int:
    """Return the memory of this machine in bytes, or the part of it that MLX_PUBLISH_MEMORY_BYTES leaves to us."""
    if (given := os.environ.get("MLX_PUBLISH_MEMORY_BYTES", "")).isdigit():
        return int(given)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
