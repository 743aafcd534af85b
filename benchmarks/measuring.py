"""Run a command and measure it: seconds, processor time, bytes read and peak memory, over the whole tree of processes.

Also what every table here needs: the line that names the machine, and the spread of several rounds.
"""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from mlx_publish.machine.described import machine

EVERY = 0.01  # seconds
_NAMED = ("mlx", "mlx-lm", "huggingface-hub")


@dataclass(frozen=True)
class Taken:
    """Seconds on the clock, bytes that `read` returned (from disk or its cache), and bytes of memory at the peak."""

    seconds: float
    read: int
    memory: int
    processor: float = 0.0
    """Seconds of processor time, user and system."""


@dataclass(frozen=True)
class Spread:
    """The values of several rounds, in their order."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle of the values."""
        return statistics.median(self.values)

    def text(self, unit: str = " s", digits: int = 2) -> str:
        """Return the median, with the lowest and the highest value behind it."""
        low, middle, high = (f"{value:.{digits}f}" for value in (min(self.values), self.median, max(self.values)))
        return f"{middle}{unit} ({low} to {high})"


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of the values of several rounds."""
    return Spread(tuple(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return ours divided by theirs, round by round: both of a round met the same state of the machine."""
    return spread([our / their for our, their in zip(ours, theirs, strict=True)])


def machine_line() -> str:
    """Return processor, cores, memory, system and versions, as one line above a table."""
    this = machine()
    memory, versions = cast("int", this["memory_bytes"]), cast("Mapping[str, str]", this["versions"])
    parts = [
        f"{this['chip']}, {this['cores']} cores, {memory / (1 << 30):.0f} GiB of memory",
        f"{platform.system()} {platform.machine()}",
        f"Python {platform.python_version()}",
        *(f"{name} {versions[name]}" for name in _NAMED if name in versions),
    ]
    return ", ".join(parts)


def measure(
    command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None, *, memory: bool = True
) -> Taken:
    """Run a command to its end. `RuntimeError` with its output where it fails.

    Watching the memory takes processor time of its own; without `memory` nothing runs beside the command.
    """
    before = _used_so_far()
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env={**os.environ, **(env or {})}, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    ended, peak = threading.Event(), [0]
    watcher = threading.Thread(target=_watch, args=(process.pid, ended, peak))
    if memory:
        watcher.start()
    output, _ = process.communicate()
    seconds = time.perf_counter() - start
    ended.set()
    if memory:
        watcher.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output}")
    read, processor = (now - then for now, then in zip(_used_so_far(), before, strict=True))
    return Taken(seconds, int(read), peak[0], processor)


def print_head(*columns: str) -> None:
    """Print the first two lines of a table in Markdown."""
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")


def _watch(pid: int, ended: threading.Event, peak: list[int]) -> None:
    """Keep the most memory that the tree of a process holds until it ends."""
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        peak[0] = _memory(root)
        while not ended.wait(EVERY):
            peak[0] = max(peak[0], _memory(root))


def _memory(root: psutil.Process) -> int:
    """Return the memory that the whole tree holds now."""
    total = 0
    with contextlib.suppress(psutil.Error):
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
    return total


def _used_so_far() -> tuple[float, float]:
    """Return bytes read and seconds of processor time, of this process and of its children that have ended.

    Linux adds the bytes up; a Mac does not count them.
    """
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    this = psutil.Process()
    read = this.io_counters().read_chars if hasattr(this, "io_counters") else 0
    return float(read), children.ru_utime + children.ru_stime
