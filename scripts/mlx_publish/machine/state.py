"""How the machine is, and what of that makes numbers measured on it unfit for print."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlx_publish.machine import apple, linux
from mlx_publish.machine.packages import computes_by
from mlx_publish.machine.programs import Run, run_program
from mlx_publish.machine.snapshot import State

# Cores in the hands of others, from which on a speed may be theirs as well as the model's.
MUCH_TAKEN = 0.5
MUCH_OF_THE_GPU = 5.0
"""Percent."""
_WORTH_A_WORD = 1.0  # seconds of a slower GPU


@dataclass(frozen=True)
class Disturbances:
    """Sentences: why numbers must not be printed, and what a reader of printed ones should know."""

    refusals: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def state(run: Run = run_program) -> State:
    """Return how the machine is now."""
    if platform.system() == "Darwin":
        now = apple.state(run)
    else:
        now = linux.state(run=run if computes_by() == "cuda" else None)
    try:
        return replace(now, load=round(os.getloadavg()[0] / (os.cpu_count() or 1), 2))
    except OSError:
        return now


def disturbances(before: State, after: State) -> Disturbances:
    """Return what disturbed a measurement, by the states before and after it; what is not known disturbs nobody."""
    states = {"before": before, "after": after}
    remarks = [f"The machine ran on battery {when}." for _, when in _wrong(states, "power", "battery".__eq__)]
    refusals = [f"Low power mode was on {when}." for _, when in _wrong(states, "low_power_mode", bool)]
    for word, when in _wrong(states, "thermal", lambda word: word != "nominal"):
        # A Mac without a fan is warm after any work; that it slowed down shows in the trials.
        warm = word == "fair" and before.thermal != "fair"
        (remarks if warm else refusals).append(f"The thermal state of the machine was {word} {when}.")
    for percent, when in _wrong(states, "cpu_speed_limit", lambda percent: percent < 100):
        refusals.append(f"The system held the processor at {percent} % of its speed {when}.")
    hot, others = _gpu(states, before, after)
    return Disturbances((*refusals, *hot), (*remarks, *_others(states), *others))


def _gpu(states: Mapping[str, State], before: State, after: State) -> tuple[list[str], list[str]]:
    """Return what slowed an NVIDIA GPU down: heat refuses; a cap on its power is how that machine is."""
    hot = [f"The GPU slowed down from heat {when}." for _, when in _wrong(states, "gpu_slowdown", "heat".__eq__)]
    if (seconds := _passed(before.gpu_heat_s, after.gpu_heat_s)) >= _WORTH_A_WORD:
        hot = [f"Heat slowed the GPU down for {seconds:.0f} s during the measurement."]
    remarks = []
    if (seconds := _passed(before.gpu_power_s, after.gpu_power_s)) >= _WORTH_A_WORD:
        remarks.append(f"The GPU's power limit slowed it down for {seconds:.0f} s during the measurement.")
    when, busier = max(states.items(), key=lambda item: item[1].gpu_others or 0)
    if (share := busier.gpu_others or 0) > MUCH_OF_THE_GPU:
        remarks.append(f"Other programs took {share:.0f} % of the GPU {when} the measurement.")
    return hot, remarks


def _passed(before: float | None, after: float | None) -> float:
    return 0.0 if before is None or after is None else after - before


def _wrong(states: Mapping[str, State], key: str, wrong: Callable[[Any], bool]) -> Iterator[tuple[Any, str]]:
    """Yield each wrong value of a field, and when it was so."""
    for value in dict.fromkeys(getattr(state, key) for state in states.values()):
        if value is not None and wrong(value):
            when = " and ".join(when for when, state in states.items() if getattr(state, key) == value)
            yield value, f"{when} the measurement"


def _others(states: Mapping[str, State]) -> Iterator[str]:
    """Yield one sentence, about the busier of the two."""
    when, busier = max(states.items(), key=lambda item: item[1].other_cores or 0)
    if (cores := busier.other_cores or 0) > MUCH_TAKEN:
        names = ", ".join(f"{program.name} {program.cpu_percent:.0f} %" for program in busier.busiest or ())
        yield f"Other programs took {cores:.1f} cores {when} the measurement{': ' if names else ''}{names}."
