"""The content of a foreign folder: each file where it really lies, and each link that leads elsewhere.

A look opens nothing. Open its files only through `FolderLook.open`, which refuses any other file that has taken the
place since.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mlx_publish.errors import Refused, SurroundingsError
from mlx_publish.model.names import shown

_THROUGH_LINKS = 10_000
"""Files that may be reached through links to folders."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Where git-annex and DVC keep what the links in a work tree lead to.
_STORES = ((".git", "annex", "objects"), (".dvc", "cache"))
_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_ENVIRONMENT = "pyvenv.cfg"
"""It marks a folder as a virtual environment of Python, whose links lead to the system; it is no part of a model."""
_HOLLOW = 8
"""A file of which the disk holds less than this part, and which has holes, was never written as a whole."""
_BLOCK = 512


@dataclass(frozen=True)
class Place:
    """A plain file: its path after all links, and the mark that tells it from another."""

    real: Path
    size: int
    mark: tuple[int, ...]
    """Device, inode, size and time of the last change."""
    stored: int
    """Bytes that the disk holds of it; 0 where the disk does not tell."""


@dataclass(frozen=True)
class Stray:
    """A name in the folder that stands for something outside of it, or for no file at all."""

    path: str
    why: str


@dataclass(frozen=True)
class FolderLook:
    """All visible files of a folder by their names in it."""

    places: Mapping[str, Place]
    strays: tuple[Stray, ...]
    dead: tuple[str, ...]
    """Links that lead to nothing."""
    passed_over: tuple[str, ...] = ()
    """Folders that say of themselves that they are environments of Python."""

    def open(self, path: str) -> BinaryIO:
        """Open a file of the look. Raises `Refused` if another or a changed file lies there now."""
        place = self.places[path]
        try:
            handle = os.open(place.real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError as error:
            raise SurroundingsError(f"{shown(path)} cannot be read: {error.strerror}") from error
        except OSError as error:
            raise changed(path) from error
        file = os.fdopen(handle, "rb")
        if _mark(os.fstat(handle)) != place.mark:
            file.close()
            raise changed(path)
        return file

    def hollow(self, path: str) -> bool:
        """Return whether a file is mostly holes, like a download that has only begun."""
        place = self.places[path]
        if not 0 < place.stored * _HOLLOW < place.size or not hasattr(os, "SEEK_HOLE"):
            return False
        with self.open(path) as file:
            try:
                # A disk that compresses holds less as well, and says that there is no hole.
                return os.lseek(file.fileno(), 0, os.SEEK_HOLE) < place.size
            except OSError:
                return False


def changed(path: str) -> Refused:
    """Return what to raise of a file that is not the one any more that was looked at."""
    return Refused(
        "changed while it was being read",
        place=shown(path),
        check="links-inside",
        remedy="Let nothing else write to the source, and run the same command again.",
    )


def _mark(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def look_at(folder: Path) -> FolderLook:
    """Look at a folder, which may be a link itself, without opening a file or following a link out of it."""
    return _Walk(Path(os.path.realpath(folder))).look()


@dataclass
class _Walk:
    """A look in progress."""

    root: Path
    places: dict[str, Place] = field(default_factory=dict)
    strays: list[Stray] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    _waiting: list[tuple[str, Path, bool]] = field(default_factory=list)
    """Folders to go into: what stands before their names, where they lie, whether a link leads there."""
    _followed: set[Path] = field(default_factory=set)
    _through: int = 0

    def look(self) -> FolderLook:
        self._waiting.append(("", self.root, False))
        while self._waiting:
            prefix, folder, through = self._waiting.pop()
            for path in _visible(folder):
                self._through += through
                self._judge(f"{prefix}{path.name}", path, through)
            if self._through > _THROUGH_LINKS:
                self.strays.append(Stray(prefix.rstrip("/"), f"leads to more than {_THROUGH_LINKS:,} files"))
                break
        strays = sorted(self.strays, key=lambda stray: stray.path)
        return FolderLook(
            dict(sorted(self.places.items())), tuple(strays), tuple(sorted(self.dead)), tuple(sorted(self.passed_over))
        )

    def _judge(self, name: str, path: Path, through: bool) -> None:
        try:
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                self._judge_link(name, path)
            elif not stat.S_ISDIR(status.st_mode):
                self._keep(name, path, status)
            elif (path / _ENVIRONMENT).exists():
                self.passed_over.append(name)
            else:
                self._waiting.append((f"{name}/", path, through))
        except OSError as error:
            if error.errno not in _GONE:
                self.strays.append(Stray(name, f"cannot be looked at: {error.strerror}"))

    def _judge_link(self, name: str, path: Path) -> None:
        real, link = Path(os.path.realpath(path)), f"is a link to {shown(str(path.readlink()))}, "
        try:
            status = real.lstat()
        except OSError as error:
            if error.errno not in _GONE:
                self.strays.append(Stray(name, f"{link}which cannot be inspected: {error.strerror}"))
                return
            status = None
        if status is None or stat.S_ISLNK(status.st_mode):  # it leads to nothing, or in a circle
            self.dead.append(name)
            return
        within = _within(real, self.root)
        if within is None and not (stat.S_ISREG(status.st_mode) and _is_blob(real, self.root)):
            self.strays.append(Stray(name, f"{link}which is outside the folder"))
        elif within is not None and _is_hidden(within):
            self.strays.append(Stray(name, f"{link}which is hidden and not part of a model"))
        elif stat.S_ISDIR(status.st_mode):
            self._follow(name, path, real)
        else:
            self._keep(name, real, status, link)

    def _follow(self, name: str, path: Path, real: Path) -> None:
        """Go into a linked folder once, and never into one that the link itself lies in."""
        here = Path(os.path.realpath(path.parent))
        if real not in self._followed and real not in (here, *here.parents):
            self._followed.add(real)
            self._waiting.append((f"{name}/", real, True))

    def _keep(self, name: str, real: Path, status: os.stat_result, link: str = "is ") -> None:
        if stat.S_ISREG(status.st_mode):
            stored = getattr(status, "st_blocks", 0) * _BLOCK
            self.places[name] = Place(real, status.st_size, _mark(status), stored)
        else:
            kind = next((word for is_kind, word in _KINDS if is_kind(status.st_mode)), "no file")
            self.strays.append(Stray(name, f"{link}{kind}, not a file"))


def _visible(folder: Path) -> list[Path]:
    """Return what lies in a folder but hidden entries; nothing of a folder that may not be read."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def _within(real: Path, root: Path) -> tuple[str, ...] | None:
    """Return the parts of a path below the root, or None if it is not below it.

    Folders are compared as the disk does: a link may spell them in other letters.
    """
    own = root.stat()
    for above in (real, *real.parents):
        if os.path.samestat(above.stat(), own):
            return real.relative_to(above).parts
    return None


def _is_hidden(parts: tuple[str, ...]) -> bool:
    """Return whether a path is hidden: the user's own, as the token in .git/config, and no store of large files."""
    if any(parts[: len(store)] == store for store in _STORES):
        return False
    return any(part.startswith(".") for part in parts)


def _is_blob(real: Path, root: Path) -> bool:
    """Return whether a file lies in the blobs of the Hub client's cache of which the root is a snapshot, or a part.

    Layout: models--<name>/snapshots/<commit>/ with links into models--<name>/blobs/, all of them real folders.
    """
    for folder in (root, *root.parents):
        repo = folder.parent.parent
        if _COMMIT.fullmatch(folder.name) and folder.parent.name == "snapshots" and repo.name.startswith("models--"):
            try:
                return os.path.samestat(real.parent.stat(), (repo / "blobs").lstat())
            except OSError:
                return False
    return False
