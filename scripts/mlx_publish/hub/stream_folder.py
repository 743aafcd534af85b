"""The folder of a source that is streamed: weight files that fill from the front, and what is done with them.

    source     repo and commit, one line
    shards/    each weight file in its full size, with its header; what has not arrived takes no room (a sparse file)
    arrived    written here, append only: `BYTES<tab>PATH` = so many lie there; `proven<tab>PATH` = whole, of the Hub's
               digest
    journal    written by the child, append only, JSON lines: first the key of the conversion, then a line for each
               shard of which all that was made is on the disk
    spill/     the child's: tensors that wait for others
    out/LABEL/ the child's: the files of a variant, at their places

It outlives a kill, and goes when the conversion is in its place.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mlx_publish.errors import Refused
from mlx_publish.model.names import shown
from mlx_publish.model.weights import MAX_HEADER, header_end
from mlx_publish.text.files import write_atomically

PROVEN = "proven"
_BLOCK = 512  # bytes, in which a system counts what a file takes


@dataclass
class StreamFolder:
    """What lies there. One process at a time: the caller has the lock of the work folder."""

    path: Path
    counts: dict[str, int] = field(default_factory=dict)
    """By weight file, how many bytes from the front lie there."""
    finished: set[str] = field(default_factory=set)
    """Weight files of which all that was made is on the disk."""
    _read: int = 0
    """Bytes of the journal that were read."""

    @property
    def arrived(self) -> Path:
        """What has arrived."""
        return self.path / "arrived"

    @property
    def journal(self) -> Path:
        """What is finished."""
        return self.path / "journal"

    @property
    def spill(self) -> Path:
        """Tensors that wait for others."""
        return self.path / "spill"

    @property
    def out(self) -> Path:
        """Where each variant has a folder."""
        return self.path / "out"

    @property
    def exists(self) -> bool:
        """Return whether an unfinished conversion lies there."""
        return self.arrived.is_file()

    def shard(self, path: str) -> Path:
        """Return where a weight file lies. `Refused` for a name that leads elsewhere, or that is more than one line."""
        parts = PurePosixPath(path).parts
        if not path.isprintable() or path.startswith("/") or ".." in parts:
            raise Refused("is no name of a weight file", place=shown(path), remedy="Choose another source.")
        return self.path / "shards" / path

    def open(self, source: str, key: str = "") -> bool:
        """Read what lies there of this source and this key, or begin anew; return whether there was something.

        Of another source everything goes; of another conversion of the same source what was made. Without a key
        nothing was made yet.
        """
        kept = (self.path / "source").read_text("utf-8").strip() if (self.path / "source").is_file() else ""
        if kept != source:
            self.remove()
        self.path.mkdir(parents=True, exist_ok=True)
        if kept != source:
            write_atomically(self.path / "source", f"{source}\n")
        self.counts = dict(_counts(self.arrived))
        self.finished, self._read = set(), 0
        if not key:
            return False
        same = self._key() == key
        if same:
            self.look()
        else:
            self._forget_made()
        # Anew, so that no line is cut short, and none says more than is true.
        self._write_arrived()
        return same

    def look(self) -> set[str]:
        """Return the weight files that were finished since the last look."""
        with contextlib.suppress(FileNotFoundError), self.journal.open("rb") as file:
            file.seek(self._read)
            text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._read += len(whole)
            new = {line["shard"] for line in map(json.loads, whole.splitlines()) if "shard" in line} - self.finished
            self.finished |= new
            return new
        return set()

    def lay(self, path: str, size: int, front: bytes, *, whole: bool) -> None:
        """Make a weight file of its full size that begins with `front`: its header, and with `whole` all of it."""
        target = self.shard(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        kept = front if whole else front[: header_end(front)]
        with target.open("xb") as file:
            file.write(kept)
            file.flush()
            # Only now has it its size, by which it counts as laid.
            os.ftruncate(file.fileno(), size)
        self.note(path, len(kept))

    def is_laid(self, path: str, size: int) -> bool:
        """Return whether a weight file has its size, and so its header."""
        target = self.shard(path)
        return not target.is_symlink() and target.is_file() and target.stat().st_size == size

    def link(self, path: str, to: Path) -> None:
        """Let a weight file be one that lies elsewhere on this disk, which is only read."""
        target = self.shard(path)
        if target.is_symlink() and target.readlink() == to:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(to)
        self.counts.pop(path, None)

    def note(self, path: str, count: int) -> None:
        """Write down that so many bytes from the front lie there."""
        self.counts[path] = count
        self._append(f"{count}\t{path}\n")

    def prove(self, path: str) -> None:
        """Write down that a file is whole, and what the Hub has."""
        self._append(f"{PROVEN}\t{path}\n")

    def header_bytes(self, path: str) -> int:
        """Return where the tensors of a weight file begin."""
        with self.shard(path).open("rb") as file:
            return min(header_end(file.read(8)), MAX_HEADER + 8)

    def let_go(self, path: str) -> None:
        """Free the room of a weight file; its header and its size stay, and whoever has it open reads zeros.

        A link is left alone: what it leads to is somebody else's.
        """
        with contextlib.suppress(OSError):
            descriptor = os.open(self.shard(path), os.O_RDWR | os.O_NOFOLLOW)
            try:
                size = os.fstat(descriptor).st_size
                # Never shorter than the header, which nobody has to fetch again then.
                os.ftruncate(descriptor, min(size, self.header_bytes(path)))
                os.ftruncate(descriptor, size)
            finally:
                os.close(descriptor)

    def drop(self, path: str) -> None:
        """Remove a weight file whose bytes are wrong."""
        self.shard(path).unlink(missing_ok=True)
        self.note(path, 0)

    def spilled(self) -> int:
        """Return the bytes on the disk of tensors that wait for others."""
        return taken(self.spill)

    def remove(self) -> None:
        """Remove all of it; links are not followed."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.counts, self.finished, self._read = {}, set(), 0

    def _key(self) -> str:
        try:
            with self.journal.open("rb") as file:
                first = json.loads(file.readline())
        except (OSError, ValueError):
            return ""
        return str(first.get("key", "")) if isinstance(first, Mapping) else ""

    def _forget_made(self) -> None:
        """Forget what another conversion made; of what it let go the bytes are not there any more."""
        self.look()
        for path in self.finished:
            with contextlib.suppress(OSError):
                self.let_go(path)
                self.counts[path] = self.header_bytes(path)
        self._write_arrived()
        self.journal.unlink(missing_ok=True)
        for made in (self.spill, self.out):
            shutil.rmtree(made, ignore_errors=True)
        self.finished, self._read = set(), 0

    def _write_arrived(self) -> None:
        lines = (f"{count}\t{path}\n" for path, count in self.counts.items() if count)
        write_atomically(self.arrived, "".join(lines))

    def _append(self, line: str) -> None:
        descriptor = os.open(self.arrived, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            with naming(self.arrived):
                os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the disk say of which file it is: to write to an open one says nothing."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def taken(folder: Path) -> int:
    """Return the bytes on the disk of all files below a folder; of a sparse file only what it takes."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # gone meanwhile
                total += (Path(root) / name).lstat().st_blocks * _BLOCK
    return total


def _counts(arrived: Path) -> Iterator[tuple[str, int]]:
    """Yield the counts of a file, the last one of each path last; a line that was cut short is none."""
    with contextlib.suppress(OSError):
        for line in arrived.read_text("utf-8").splitlines(keepends=True):
            count, tab, path = line.partition("\t")
            if tab and path.endswith("\n") and count.isdigit():
                yield path[:-1], int(count)
