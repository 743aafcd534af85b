"""How a machine is at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

LEFT_OUT = {"left_out": True}
"""Metadata of a field that reports leave out where it is None, as `evidence.records` reads it."""


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
    gpu_slowdown: str | None = field(default=None, metadata=LEFT_OUT)
    """Of an NVIDIA GPU: `none`, `heat`, `hardware` or `power cap`."""
    gpu_heat_s: float | None = field(default=None, metadata=LEFT_OUT)
    """Seconds for which heat slowed it down since its driver was loaded."""
    gpu_power_s: float | None = field(default=None, metadata=LEFT_OUT)
    """The same of a power cap or brake."""
    gpu_others: float | None = field(default=None, metadata=LEFT_OUT)
    """Percent of its time that other programs take."""
