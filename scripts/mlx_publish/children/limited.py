"""The child processes of this room from outside: their limits of time and memory, and how they ended."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlx_publish.children import process
from mlx_publish.children.environment import of_a_child

# How a child ended: codes of its own, but for the first, which stands for the parent's verdict.
TOO_LONG, DISK_FAILED = 92, 93
# Linux enforces a limit of memory; elsewhere two watches have to do, one inside and one outside.
WATCHED = sys.platform != "linux"


def run(
    folder: Path,
    seconds: float,
    memory_bytes: int,
    command: Sequence[str] = (),
    surroundings: Mapping[str, str] | None = None,
) -> int:
    """Run a child on the job in `folder`, where its log goes too, and return how it ended; nothing outlives it.

    Without a `command` it is that of `__main__`; `surroundings` are variables besides those of every child.
    """
    words = list(command) or process.python("mlx_publish.chat", folder)
    with (folder / "log").open("wb") as log:
        child = process.start(words, of_a_child(folder, **(surroundings or {})), folder, log)
    try:
        return process.wait(child, seconds, memory_bytes if WATCHED else None)
    finally:
        process.end(child)
