"""Wait until a machine is quiet enough to measure on it."""

from __future__ import annotations

import time
from collections.abc import Callable

from mlx_publish.machine.snapshot import State
from mlx_publish.machine.state import MUCH_OF_THE_GPU, MUCH_TAKEN

PAUSE = 5.0
"""Seconds between two looks; one pause at least lets it cool down."""


def is_quiet(state: State) -> bool:
    """Return whether no other program takes much of processor or GPU, and nothing is known to slow them down."""
    cool = state.thermal in (None, "nominal") and (state.cpu_speed_limit or 100) == 100 and state.gpu_slowdown != "heat"
    return cool and (state.other_cores or 0) <= MUCH_TAKEN and (state.gpu_others or 0) <= MUCH_OF_THE_GPU


def stays_slow(state: State) -> bool:
    """Return whether waiting cannot help, since a person has to change a setting."""
    return bool(state.low_power_mode)


def wait_until_quiet(longest: float, look: Callable[[], State]) -> float:
    """Wait until the machine is quiet, at most `longest` seconds. Return the seconds waited."""
    waited = 0.0
    while waited + PAUSE <= longest:
        time.sleep(PAUSE)
        waited += PAUSE
        if is_quiet(look()):
            break
    return waited
