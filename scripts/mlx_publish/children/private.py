"""Folders that nobody else can write to."""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from functools import cache
from pathlib import Path

_STICKY = stat.S_ISVTX
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def is_private(folder: Path) -> bool:
    """Tell whether a folder is ours alone: it, and whatever leads to it, is writable for us and root only.

    A folder that all may write to, as /tmp, leads there safely where its sticky bit keeps others from renaming.
    """
    if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
        return False
    return all(_safe(one.stat(), leads=one != folder) for one in (folder, *folder.parents))


def private_folder(folder: Path) -> Path | None:
    """Make a folder of mode 700 where it is missing and return it; None where it would not be ours alone."""
    folder = folder.parent.resolve() / folder.name
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder if is_private(folder) else None
    except OSError:
        return None


@cache
def kernels() -> Path:
    """The folder in which MLX keeps kernels that it has compiled: in the user's cache, else only for this process.

    MLX loads what lies in TMPDIR under the right name. In a folder that others write to, that is their code.
    """
    given = os.environ.get("MLX_PUBLISH_CACHE")
    home = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("HOME") or "/nonexistent") + "/.cache"
    place = Path(given) if given else Path(home) / "mlx-publish"
    if place.is_absolute() and (found := private_folder(place / "kernels")):
        return found
    made = Path(tempfile.mkdtemp(prefix="mlx-publish-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def _safe(found: os.stat_result, *, leads: bool) -> bool:
    ours = found.st_uid in (0, os.getuid())
    return ours and (not found.st_mode & _OTHERS or (leads and bool(found.st_mode & _STICKY)))
