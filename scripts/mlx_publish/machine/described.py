"""The machine that numbers were measured on, and the software they were measured with. Needs no MLX."""

from __future__ import annotations

import platform
from functools import cache
from typing import Any

from mlx_publish.children.environment import fast_blas
from mlx_publish.machine import describe
from mlx_publish.machine.packages import versions
from mlx_publish.machine.resources import memory_bytes


def machine() -> dict[str, Any]:
    """Chip, cores, memory in bytes, system and versions; nothing that names a person or a host."""
    found = _described()
    return {
        **found,
        "chip": found["chip"] or found["arch"],
        "memory_bytes": found["memory_bytes"] or memory_bytes(),
        "blas": None if platform.system() == "Darwin" else _blas(),
        "versions": versions(),
    }


@cache
def _described() -> dict[str, Any]:
    """Asked once: the answer stays the same, and each variant asks several times."""
    return describe()


def _blas() -> str:
    library = fast_blas()
    return library.resolve().name if library else "reference BLAS of the mlx wheel"
