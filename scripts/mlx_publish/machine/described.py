"""The machine that numbers were measured on, and the software they were measured with. Needs no MLX."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache

from mlx_publish.children.environment import fast_blas
from mlx_publish.machine import Machine, describe
from mlx_publish.machine.packages import versions
from mlx_publish.machine.resources import memory_bytes


def machine() -> Mapping[str, object]:
    """Return what reports keep: chip, cores, memory in bytes, system and versions; nothing names a person or a host."""
    this = _described()
    library = None if platform.system() == "Darwin" else fast_blas()
    blas = library.resolve().name if library else "reference BLAS of the mlx wheel"
    return {
        **asdict(this),
        "chip": this.chip or this.arch,
        "memory_bytes": this.memory_bytes or memory_bytes(),
        "blas": None if platform.system() == "Darwin" else blas,
        "versions": versions(),
    }


@cache
def _described() -> Machine:
    """Ask once: the answer stays the same, and each variant asks several times."""
    return describe()
