"""The room that knows the machine: what it is, and how it is while something is measured on it.

It starts no program but those of the system, reads nothing that names a person, a host or one single machine, and
says None of what it cannot read.
"""

from __future__ import annotations

import platform
from typing import Any

from mlx_publish.machine import apple, linux
from mlx_publish.machine.programs import Run, run_program


def describe(run: Run = run_program) -> dict[str, Any]:
    """What the machine is, the same from run to run; memory in bytes, None where something cannot be read.

    `cores` are all that programs may use; `super_cores`, `performance_cores` and `efficiency_cores` are those of a
    Mac, by the names that macOS gives them. Linux is read without a program: there `run` has nothing to do.
    """
    found = apple.describe(run) if platform.system() == "Darwin" else linux.describe()
    return {**found, "arch": platform.machine(), "python": platform.python_version()}
