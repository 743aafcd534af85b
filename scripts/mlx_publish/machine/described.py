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

_OF_A_GPU = ("gpu", "gpu_memory_bytes", "gpu_driver")
"""Left out where they are not known: evidence of other machines stays as it was."""


def machine() -> Mapping[str, object]:
    """Return what reports keep: chip, cores, memory in bytes, system and versions; nothing names a person or a host."""
    this = _described()
    library = None if platform.system() == "Darwin" else fast_blas()
    blas = library.resolve().name if library else "reference BLAS of the mlx wheel"
    kept = {key: value for key, value in asdict(this).items() if value is not None or key not in _OF_A_GPU}
    return {
        **kept,
        "chip": this.chip or this.arch,
        "memory_bytes": this.memory_bytes or memory_bytes(),
        "blas": None if platform.system() == "Darwin" else blas,
        "versions": versions(),
    }


@cache
def _described() -> Machine:
    """Ask once: the answer stays the same, and each variant asks several times."""
    return describe()
