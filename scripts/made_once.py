"""An environment that is kept: made by one process, whole or not at all, where nobody else can change it."""

from __future__ import annotations

import shutil
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
