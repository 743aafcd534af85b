"""The room that knows the machine: what it is, and how it is while something is measured on it.

It starts no program but those of the system and of its GPU's driver, keeps nothing that names a person, a host or one
single machine, and says None of what it cannot read.
"""

from __future__ import annotations

import platform

from mlx_publish.machine import apple, linux
from mlx_publish.machine.packages import computes_by
from mlx_publish.machine.programs import Run, run_program

Machine = apple.Mac | linux.LinuxMachine


def describe(run: Run = run_program) -> Machine:
    """Return what the machine is, the same from run to run.

    Linux is read without a program, but for an NVIDIA GPU on which MLX computes.
    """
    if platform.system() == "Darwin":
        return apple.describe(run)
    found = linux.describe()
    return linux.with_gpu(found, run) if computes_by() == "cuda" else found
