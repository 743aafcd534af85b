"""How a machine is at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Busy:
    """A program that takes much of the processor, and the percent of one core that it takes."""

    name: str
    cpu_percent: float


@dataclass(frozen=True)
class State:
    """How a machine is while something is measured on it; None where something cannot be read."""

    power: str | None = None
    """`mains` or `battery`."""
    low_power_mode: bool | None = None
    high_power_mode: bool | None = None
    thermal: str | None = None
    """`nominal`, `fair`, `serious` or `critical`."""
    cpu_speed_limit: int | None = None
    """In percent of the processor's full speed."""
    other_cores: float | None = None
    """Cores that all other programs take together."""
    busiest: Sequence[Busy] | None = None
    """Those above 20 % of one core, three at most."""
    load: float | None = None
    """The load average of one minute for each core, our own work included."""
