"""Temporary folders that show whether their owner lives, so that the next start removes what a killed process left.

The owner holds a lock (flock) on the folder itself. The kernel drops it when the process ends, however it ends:
whoever gets the lock of a folder knows that nobody uses it. A folder is removed by the holder of its lock alone, and a
maker who gets the lock of a folder that has just been removed makes another one: at no moment can a living one go.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import weakref
from functools import cache
from itertools import islice
from pathlib import Path

PREFIX = "mlx-publish-run-"
"""Only folders in TMPDIR of this prefix count: a version that took no locks used another one."""
_RANDOM = re.compile(r"[a-z0-9_]{8}")  # what mkdtemp adds
_ATTEMPTS = 100
_AT_ONCE = 1000
"""The most leftovers of one look; whoever can write to TMPDIR could make a million."""


class TemporaryFolder:
    """An empty folder of mode 700 in TMPDIR or in `beside`, locked while it is in use and gone afterwards.

    The first of a process removes what killed processes left there.
    """

    def __init__(self, prefix: str = PREFIX, beside: Path | None = None) -> None:
        """Make it, and lock it."""
        place = beside or Path(tempfile.gettempdir())
        _look_once(place, prefix)
        self.path, lock = _made(place, prefix)
        self.cleanup = weakref.finalize(self, _end, self.path, lock)
        """Remove it with all that is in it; a second time nothing happens."""

    @property
    def name(self) -> str:
        """Its path as text, as `tempfile.TemporaryDirectory` has it."""
        return str(self.path)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.cleanup()


def remove_left(place: Path, prefix: str = PREFIX) -> None:
    """Remove folders of this prefix in `place` that are ours, and whose owner is gone."""
    with contextlib.suppress(OSError):
        with os.scandir(place) as entries:
            left = (entry.path for entry in entries if _is_named(entry.name, prefix))
            some = list(islice(left, _AT_ONCE))
        for path in some:
            remove_if_left(Path(path))


def remove_if_left(path: Path) -> None:
    """Remove one folder, unless it is a link, another user's, or in use."""
    with contextlib.suppress(OSError, RecursionError):
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if os.fstat(lock).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is(path, lock):
                    _remove(path)
        finally:
            os.close(lock)


@cache
def _look_once(place: Path, prefix: str) -> None:
    remove_left(place, prefix)


def _is_named(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and bool(_RANDOM.fullmatch(name, len(prefix)))


def _made(place: Path, prefix: str) -> tuple[Path, int]:
    """Make a folder and lock it; where somebody who looks for leftovers was between the two, once more."""
    for _ in range(_ATTEMPTS):
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            with contextlib.suppress(OSError):  # a file system without locks: nobody gets one, so it is never removed
                fcntl.flock(lock, fcntl.LOCK_EX)
            if _is(path, lock):
                return path, lock
            os.close(lock)
    raise FileNotFoundError(f"folders in {place} vanish as soon as they are created")


def _is(path: Path, lock: int) -> bool:
    """Return whether what lies at `path` is what is locked."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(lock))
    except FileNotFoundError:
        return False


def _end(path: Path, lock: int) -> None:
    try:
        if _is(path, lock):  # else it was renamed to where it belongs
            _remove(path)
    finally:
        os.close(lock)


def _remove(path: Path) -> None:
    """Remove a folder without following a link; folders within that are closed to us are opened."""
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        _open_up(path)
        shutil.rmtree(path, ignore_errors=True)


def _open_up(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.chmod(0o700)
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                _open_up(path)
