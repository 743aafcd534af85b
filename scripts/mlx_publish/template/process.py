"""The child processes of this room from outside: their start, surroundings, limits of time and memory, and end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import mlx_publish

# How a child ended: codes of its own, but for the first, which stands for the parent's verdict.
TOO_SLOW, OUT_OF_MEMORY, TOO_LONG, DISK_FAILED = 90, 91, 92, 93
# Linux enforces a limit of memory; elsewhere two watches have to do, one inside and one outside.
WATCHED = sys.platform != "linux"
_KEPT = ("PATH", "HOME", "TZ", "PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def run(
    folder: Path,
    seconds: float,
    memory_bytes: int,
    command: Sequence[str] = (),
    surroundings: Mapping[str, str] | None = None,
) -> int:
    """Run a child on the job in `folder`, where its log goes too, and return how it ended; nothing outlives it.

    Without a `command` it is that of `__main__`, without `surroundings` its environment is `environment`.
    """
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command] or [sys.executable, "-X", "utf8", "-m", "mlx_publish.template", str(folder)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env=dict(surroundings or environment()), cwd=folder, start_new_session=True,
        )  # fmt: skip
    try:
        return _wait(process, seconds, memory_bytes)
    finally:
        _end(process)


def environment() -> dict[str, str]:
    """What Python needs to start and to find this very package; nothing that a template could be after."""
    kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
    root = str(Path(mlx_publish.__file__).resolve().parents[1])
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, (root, kept.get("PYTHONPATH"))))}


def resident(pid: int) -> int:
    """Bytes of memory that a process holds now; 0 where that cannot be known."""
    order = ["/bin/ps", "-o", "rss=", "-p", str(pid)]
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        told = subprocess.run(order, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=1)
        return 1024 * int(told.stdout)
    return 0


def _wait(process: subprocess.Popen[bytes], seconds: float, memory_bytes: int) -> int:
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=min(left, 0.1))
        # The child's own watch is blind while a single step of the template takes gigabytes.
        if WATCHED and resident(process.pid) > memory_bytes:
            return OUT_OF_MEMORY
    return TOO_SLOW


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the child with all that it started, even where it has ended itself."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
