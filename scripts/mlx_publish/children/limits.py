"""Limits that a child puts on itself, for good, before it looks at what a stranger wrote."""

from __future__ import annotations

import math
import os
import resource
import sys
import threading
import time
from pathlib import Path

TOO_SLOW, OUT_OF_MEMORY, PANICKED, TOO_LONG, GARBLED, STOPPED = range(90, 96)
"""How a child ended: OUT_OF_MEMORY by its own watch or the parent's, PANICKED by a library that broke, the others by
the parent: it took too long, wrote too much, wrote what is no line of ours, or was ended with others."""
WATCHED = sys.platform != "linux"
"""Linux enforces a limit of memory; elsewhere two watches have to do, one inside and one outside."""


def limit(seconds: float, memory_bytes: int, written_bytes: int, *, watched: bool) -> None:
    """Take rights away from this process: CPU time, memory on top of what it has by now, size of a file, core files.

    Linux enforces the memory; where it is `watched`, a thread looks.
    """
    _at_most(resource.RLIMIT_CORE, 0)
    _at_most(resource.RLIMIT_FSIZE, written_bytes)
    # The parent is quicker, unless it was killed.
    _at_most(resource.RLIMIT_CPU, math.ceil(seconds) + 1)
    if watched:
        threading.Thread(target=_watch, args=(_peak() + memory_bytes,), daemon=True).start()
    else:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        _at_most(resource.RLIMIT_AS, pages * resource.getpagesize() + memory_bytes)


def _at_most(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def _watch(most: int) -> None:
    while _peak() < most:
        time.sleep(0.02)
    os._exit(OUT_OF_MEMORY)


def _peak() -> int:
    """Return the most bytes of memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
