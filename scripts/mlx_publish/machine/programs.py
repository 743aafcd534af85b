"""Programs: how the system's own are asked, and which of the others take the processor."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import getpid
from pathlib import Path
from threading import Thread

from mlx_publish.children.process import FAILED, ask
from mlx_publish.machine.snapshot import Busy

Run = Callable[[Sequence[str]], str]

TIMEOUT = 10.0
"""Seconds that a program of the system may take."""
# One language and one decimal point, and no token of ours; without SYSTEM_VERSION_COMPAT, macOS tells its true version.
# The last folders are those of NVIDIA's driver where a container or WSL gets it from its host.
_ENVIRONMENT = {
    "LC_ALL": "C",
    "PATH": "/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/nvidia/bin:/usr/lib/wsl/lib",
    "LD_LIBRARY_PATH": "/usr/local/nvidia/lib64",
}
_GRACE = 1.0
_WORTH_NAMING = 20.0
_NAMED = 3
_LONGEST_NAME = 32


@dataclass(frozen=True)
class Program:
    """A running process: its number, its parent's, the percent of one core that it takes, its name."""

    pid: int
    parent: int
    percent: float
    name: str


@dataclass(frozen=True)
class Taken:
    """Cores that programs take together, and the busiest of them; None if no program can be looked at."""

    cores: float | None = None
    busiest: Sequence[Busy] | None = None


def run_program(command: Sequence[str]) -> str:
    """Return what a program writes to its standard output; empty if it is missing or takes more than `TIMEOUT`.

    The exit code says nothing here: sysctl fails if one of many keys is unknown, and answers the others.
    """
    answers: list[str] = []
    # One that hangs in its driver, as nvidia-smi may, cannot even be killed: it is left behind.
    thread = Thread(target=lambda: answers.append(_answer(command)), daemon=True)
    thread.start()
    thread.join(TIMEOUT + _GRACE)
    return answers[0] if answers else ""


def _answer(command: Sequence[str]) -> str:
    try:
        return ask(command, _ENVIRONMENT, Path("/"), seconds=TIMEOUT).out
    except FAILED:
        return ""


def taken_by_others(programs: Sequence[Program]) -> Taken:
    """Return what other programs take, and the busiest of them: above 20 % of a core, three at most.

    Not others are this process, those that started it and those that it started.
    """
    if not programs:
        return Taken()
    ours = descent(programs)
    others = [program for program in programs if program.pid not in ours]
    others.sort(key=lambda program: (-program.percent, program.name))
    busiest = [program for program in others if program.percent > _WORTH_NAMING][:_NAMED]
    return Taken(
        round(sum(program.percent for program in others) / 100, 2),
        [Busy(plain_name(program.name), round(program.percent, 1)) for program in busiest],
    )


def descent(programs: Sequence[Program]) -> set[int]:
    """Return the numbers of this process, of those that started it and of those that it started."""
    parents, own = {program.pid: program.parent for program in programs}, getpid()
    return {own, *_ancestors(own, parents)} | {pid for pid in parents if own in _ancestors(pid, parents)}


def plain_name(name: str) -> str:
    """Name a program and nothing else: some write paths, or who is logged in, into their own name."""
    first = re.split("[/:]", name, maxsplit=1)[0]
    shown = "".join(sign for sign in first if sign.isprintable() and sign != "\ufffd")
    return "unnamed" if "@" in shown else shown.strip()[:_LONGEST_NAME] or "unnamed"


def _ancestors(pid: int, parents: Mapping[int, int]) -> set[int]:
    """Return those that started `pid`, up to the system's first process, which started everything and is not ours."""
    ancestors: set[int] = set()
    while (pid := parents.get(pid, 0)) > 1 and pid not in ancestors:
        ancestors.add(pid)
    return ancestors
