"""Programs: how the system's own are asked, and which of the others take the processor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from os import getpid
from pathlib import Path
from typing import Any

from mlx_publish.children.process import FAILED, ask

Run = Callable[[Sequence[str]], str]

TIMEOUT = 10.0
"""Seconds that a program of the system may take."""
# One language and one decimal point, and no token of ours; without SYSTEM_VERSION_COMPAT, macOS tells its true version.
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
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


def run_program(command: Sequence[str]) -> str:
    """What a program writes to its standard output; empty where it is missing or takes more than `TIMEOUT`.

    The exit code says nothing here: sysctl fails where one of many keys is unknown, and answers the others.
    """
    try:
        return ask(command, _ENVIRONMENT, Path("/"), seconds=TIMEOUT).out
    except FAILED:
        return ""


def taken_by_others(programs: Sequence[Program]) -> dict[str, Any]:
    """Cores that other programs take together, and the busiest of them: above 20 % of a core, three at most.

    Not others are this process, those that started it and those that it started.
    """
    if not programs:
        return {"other_cores": None, "busiest": None}
    ours = _ours(programs, getpid())
    others = sorted((one for one in programs if one.pid not in ours), key=lambda one: (-one.percent, one.name))
    busiest = [one for one in others if one.percent > _WORTH_NAMING][:_NAMED]
    return {
        "other_cores": round(sum(one.percent for one in others) / 100, 2),
        "busiest": [{"name": plain_name(one.name), "cpu_percent": round(one.percent, 1)} for one in busiest],
    }


def plain_name(name: str) -> str:
    """Name a program and nothing else: some write paths, or who is logged in, into their own name."""
    first = re.split("[/:]", name, maxsplit=1)[0]
    shown = "".join(sign for sign in first if sign.isprintable() and sign != "\ufffd")
    return "unnamed" if "@" in shown else shown.strip()[:_LONGEST_NAME] or "unnamed"


def _ours(programs: Iterable[Program], own: int) -> set[int]:
    parents = {one.pid: one.parent for one in programs}
    return {own, *_ancestors(own, parents)} | {pid for pid in parents if own in _ancestors(pid, parents)}


def _ancestors(pid: int, parents: dict[int, int]) -> set[int]:
    """Those that started `pid`, up to the system's first process, which started everything and is not ours."""
    found: set[int] = set()
    while (pid := parents.get(pid, 0)) > 1 and pid not in found:
        found.add(pid)
    return found
