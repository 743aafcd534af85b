"""Run a command and see what it takes: seconds, bytes read, and the most memory, over the whole tree of processes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

EVERY = 0.01  # seconds


@dataclass(frozen=True)
class Taken:
    """Seconds on the clock, bytes that `read` gave (from disk or from its cache), and bytes of memory at the peak."""

    seconds: float
    read: int
    memory: int


def measure(command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Taken:
    """Run a command to its end. `RuntimeError` with its output where it fails."""
    start, before = time.perf_counter(), _read_so_far()
    process = subprocess.Popen(
        command, env={**os.environ, **(env or {})}, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    root = psutil.Process(process.pid)
    memory = 0
    while process.poll() is None:
        memory = max(memory, _memory(root))
        time.sleep(EVERY)
    seconds = time.perf_counter() - start
    output = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output}")
    return Taken(seconds, _read_so_far() - before, memory)


def print_head(*columns: str) -> None:
    """Print the first two lines of a table in Markdown."""
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")


def _memory(root: psutil.Process) -> int:
    """Memory that the whole tree holds now."""
    total = 0
    with contextlib.suppress(psutil.Error):
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
    return total


def _read_so_far() -> int:
    """Bytes read by this process and all of its children that have ended: Linux adds them up."""
    found: int = psutil.Process().io_counters().read_chars
    return found
