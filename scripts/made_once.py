"""An environment that is kept: made by one process, whole or not at all, where nobody else can change it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from mlx_publish.children import private_folder


def make_once(folder: Callable[[], Path], python: Callable[[], Path | None], make: Callable[[Path], str]) -> str:
    """Make what lies at `folder`, unless its `python` is there; one process does, and others wait.

    `make` returns why it cannot. Returns that, or why the folder is not fit; empty if all is whole.
    """
    try:
        there = folder()
        private_folder.make(there.parent)
    except private_folder.Unfit as unfit:
        return private_folder.remedy(str(unfit))
    with FileLock(f"{there}.lock"):
        if python():
            return ""
        reason = make(there)
        if reason:
            shutil.rmtree(there, ignore_errors=True)
        else:
            (there / private_folder.MARKER).touch()
        return reason


def python_of(folder: Callable[[], Path]) -> Path | None:
    """Return the Python of what lies at `folder`, where it is whole and nobody else can have changed it."""
    try:
        there = folder()
    except private_folder.Unfit:
        return None
    # Not deep: to look at 34,000 files takes a third of a second, and nobody else can enter the folder.
    whole = private_folder.is_whole(there, deep=False) and (there / "bin" / "python").exists()
    return there / "bin" / "python" if whole else None


def run(there: Path, *command: str) -> str:
    """Run a command; returns the last line of what it said where it failed."""
    # Settings meant for the user's own Python would put packages somewhere else. Others might exchange what is unpacked
    # in a TMPDIR that all may write.
    env = {**os.environ, "PIP_USER": "0", "PIP_TARGET": "", "PIP_PREFIX": "", "TMPDIR": str(there)}
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    errors = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return errors[-1].strip() if errors else f"exit {done.returncode}"
