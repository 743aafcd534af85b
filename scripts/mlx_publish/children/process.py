"""Start a process, watch its memory, end it with all that it started. Nothing else in this package starts one."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import mlx_publish

Process = subprocess.Popen[bytes]
TimedOut = subprocess.TimeoutExpired
FAILED = (OSError, subprocess.SubprocessError)
"""What `ask` raises where a program is missing, fails or takes too long."""
LINUX = sys.platform == "linux"
_LAUNCH = Path(__file__).resolve().parent / "launch.py"
_ROOT = Path(mlx_publish.__file__).resolve().parents[1]
_RESIDENT = re.compile(rb"^RssAnon:\s+(\d+) kB", re.MULTILINE)


@dataclass(frozen=True)
class Said:
    """How a program ended and what it printed."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        """What it wrote to its standard output, as text that can be printed."""
        return self.raw.decode("utf-8", "replace")


def python(module: str, *words: str | Path, executable: Path | None = None, root: Path = _ROOT) -> list[str]:
    """Return the command that runs a module of this package as a program in an isolated Python.

    Isolated: neither the current folder nor PYTHONPATH, user site or any PYTHON* variable decides what is imported
    (3.10 has no other way to say that). `root` is the folder in which this package is found.
    """
    return [str(executable or sys.executable), "-I", "-X", "utf8", str(_LAUNCH), str(root), module, *map(str, words)]


def start(command: Sequence[str], environment: Mapping[str, str], folder: Path, log: IO[bytes]) -> Process:
    """Start a child at work in `folder`, in a session of its own, with pipes to it and from it; `log` is its stderr."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        bufsize=0,
        env=dict(environment),
        cwd=folder,
        start_new_session=True,
    )


def end(process: Process) -> None:
    """End a child with all that it started, even where it has ended itself."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def program(name: str) -> str | None:
    """Return where a program is on the PATH; None if it is nowhere. A relative entry is passed over.

    It would be a program out of the current folder, which may be a model's or a branch's.
    """
    places = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return shutil.which(name, path=os.pathsep.join(place for place in places if Path(place).is_absolute()))


def ask(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    *,
    text: bytes = b"",
    seconds: float | None = None,
) -> Said:
    """Run a program to its end, with `text` as its standard input, and return what it printed.

    Raises one of `FAILED` where it is missing or takes more than `seconds`.
    """
    done = subprocess.run(
        list(command),
        input=text,
        capture_output=True,
        env=dict(environment),
        cwd=folder,
        timeout=seconds,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))


def resident(pid: int) -> int:
    """Return the bytes of memory that a process holds for itself now; 0 where that cannot be known.

    On Linux without the files that it has mapped, as weights, which the system can take back.
    """
    if LINUX:
        with contextlib.suppress(OSError):
            line = _RESIDENT.search(Path(f"/proc/{pid}/status").read_bytes())
            return 1024 * int(line[1]) if line else 0
        return 0
    with contextlib.suppress(*FAILED, ValueError):
        kilobytes = ask(["/bin/ps", "-o", "rss=", "-p", str(pid)], {}, Path("/"), seconds=1).out
        return 1024 * int(kilobytes)
    return 0
