"""Weight files of a repo that arrive one after the other while a child converts them, each proven and let go again."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlx_publish.errors import Interrupted, SurroundingsError
from mlx_publish.evidence.digests import git_sha1_of
from mlx_publish.hub.ranges import Remote, part_bytes
from mlx_publish.hub.stream_folder import StreamFolder, naming
from mlx_publish.model.files import FileEntry

_LINES = 2
"""Lines that say how much has arrived, for each request."""
_TICK = 0.02
"""Seconds between two looks at what the child has finished."""
_BLOCK = 8 << 20
_BEGUN = 0.08
"""Of the largest file, what may lie there beside one that is not finished; a tenth is promised."""
_FRONT = 1 << 17
"""Bytes that come with a header."""
_END = 5.0  # seconds for what is on its way when it is ended


def cached(repo: str, commit: str, entry: FileEntry) -> Path | None:
    """Return the file in the client's cache that the Hub's digest names, of this commit or another; None without."""
    from huggingface_hub import constants, try_to_load_from_cache  # noqa: PLC0415  0.2 s

    there = try_to_load_from_cache(repo, entry.path, revision=commit)
    blobs = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}" / "blobs"
    places = [Path(there)] if isinstance(there, str) else []
    places += [blobs / entry.sha256] if entry.sha256 else []
    real = (place.resolve() for place in places if place.is_file())
    return next((place for place in real if place.stat().st_size == entry.size), None)


@dataclass
class Fetching:
    """A thread that brings weight files into a folder, in their order, and lets go of what is finished.

    `error` is what ended it before its time; `failed` is called then. Whoever starts it ends it.
    """

    folder: StreamFolder
    remote: Remote
    entries: Sequence[FileEntry]
    links: Mapping[str, Path]
    """Files that lie in the client's cache, by their paths."""
    digest_of: Callable[[Path], str]
    """Returns the SHA-256 of a file in the cache."""
    failed: Callable[[], object]
    spare: int = 0
    """Bytes of the disk that may be taken besides, so that the next file can arrive while one is brought to its end."""
    error: BaseException | None = None
    _closing: threading.Event = field(default_factory=threading.Event)
    _proven: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        brought = [entry for entry in self.entries if entry.path not in self.links]
        self._headers = {e.path: min(self.folder.header_bytes(e.path), e.size) for e in brought}
        self._largest = max((entry.size for entry in brought), default=0)
        self._compared = set(self.folder.finished)
        self._thread = threading.Thread(target=self._run, name="streaming", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def prove_begun(self) -> None:
        """Bring no further file, and wait until all is whole that the child has read of; `check` says what is wrong."""
        self._closing.set()
        self._thread.join()

    def check(self) -> None:
        """Raise what ended it."""
        if self.error is not None:
            raise self.error

    def unproven(self) -> list[str]:
        """Return the files whose digest was not compared, by this run or by the one that it goes on with."""
        return [e.path for e in self.entries if e.path not in self._compared]

    def end(self) -> None:
        """End it, whatever is on its way."""
        self.remote.end()
        self._thread.join(_END)

    def _run(self) -> None:
        try:
            self._bring()
        except Interrupted as error:
            if not self.remote.stop.is_set():
                self.error = error
        except BaseException as error:  # noqa: BLE001  it is raised where one waits
            self.error = error
        if self.error is not None:
            self.failed()

    def _bring(self) -> None:
        for entry in self.entries:
            self._let_go()
            if entry.path in self.folder.finished:
                continue
            if self._closing.is_set():
                break
            if entry.path in self.links:
                self._take(entry, self.links[entry.path])
            else:
                self._fetch(entry)
        while not self._closing.is_set() and self._left():
            self._wait()

    def _take(self, entry: FileEntry, there: Path) -> None:
        """Take the file of the client's cache, which is digested all the same."""
        self._prove(entry, self.digest_of(there) if entry.sha256 else git_sha1_of(there))
        self.folder.note(entry.path, entry.size)
        self.folder.prove(entry.path)

    def _fetch(self, entry: FileEntry) -> None:
        """Bring one file: what lies there is digested again, the rest is asked for."""
        path = self.folder.shard(entry.path)
        there = max(min(self.folder.counts.get(entry.path, 0), entry.size), self._headers[entry.path])
        digest = _digest_of(entry)
        with path.open("r+b", buffering=0) as file:
            # It may be a part, or with another child all of what was read.
            for block in _blocks(file.fileno(), there):
                self._go_on()
                digest.update(block)
            self.folder.note(entry.path, there)
            noted = there
            for chunk in self._rest(entry, there):
                with naming(path):
                    _write(file.fileno(), chunk, there)
                digest.update(chunk)
                there += len(chunk)
                # A line for each piece of the network would be as many lines as there are packets.
                if there - noted >= part_bytes(entry.size) // _LINES or there == entry.size:
                    self.folder.note(entry.path, there)
                    noted = there
        self._prove(entry, digest.hexdigest())
        self._proven.add(entry.path)
        self.folder.prove(entry.path)

    def _rest(self, entry: FileEntry, start: int) -> Iterator[bytes]:
        """Yield what is missing of a file, as room on the disk allows."""
        if start >= entry.size:
            return
        self._wait_for_room(entry, start)
        asked = start
        for chunk in self.remote.rest(entry.path, start, entry.size):
            if start >= asked:
                self._wait_for_room(entry, start)
                asked = start + part_bytes(entry.size)
            start += len(chunk)
            yield chunk

    def _wait_for_room(self, entry: FileEntry, start: int) -> None:
        """Wait until only a little lies there besides: one file at a time, and the beginning of the next."""
        self._let_go()
        while (others := self._others(entry)) and not self._closing.is_set():
            held = others + self._held(entry.path, start) + self.folder.spilled()
            if held + 2 * min(part_bytes(entry.size), entry.size - start) <= (1 + _BEGUN) * self._largest + self.spare:
                return
            self._wait()

    def _others(self, entry: FileEntry) -> int:
        """Return the bytes that lie there of other files."""
        others = (path for path in self._headers if path != entry.path and path not in self.folder.finished)
        return sum(self._held(path, self.folder.counts.get(path, 0)) for path in others)

    def _held(self, path: str, count: int) -> int:
        """Return how many of so many bytes count: what came with the headers lies there of every file."""
        return max(0, count - self._headers[path] - _FRONT)

    def _wait(self) -> None:
        if self.remote.stop.wait(_TICK):
            raise Interrupted("the download was stopped")
        self._let_go()

    def _go_on(self) -> None:
        if self.remote.stop.is_set():
            raise Interrupted("the download was stopped")

    def _let_go(self) -> None:
        """Free the room of what the child has finished; of all that is proven, where there is no child any more."""
        for path in self.folder.look():
            self.folder.let_go(path)
        if self._closing.is_set():
            for path in self._proven - self.folder.finished:
                self.folder.let_go(path)
                self.folder.note(path, self.folder.header_bytes(path))
            self._proven.clear()

    def _left(self) -> bool:
        return any(entry.path not in self.folder.finished for entry in self.entries)

    def _prove(self, entry: FileEntry, digest: str) -> None:
        """Raise `SurroundingsError` if a digest is not the Hub's."""
        if digest == (entry.sha256 or entry.git_sha1):
            self._compared.add(entry.path)
            return
        name = f"{self.remote.repo}/{entry.path}"
        if entry.path in self.links:
            raise wrong_copy(self.links[entry.path], name)
        self.folder.drop(entry.path)
        raise SurroundingsError(
            f"{name} was downloaded, but its bytes differ from the Hub's",
            remedy="Its bytes were removed, and nothing that was made of them is kept; run the same command again.",
        )


def wrong_copy(there: Path, name: str) -> SurroundingsError:
    """Return the error for a file in the client's cache that is not what the Hub has under a name."""
    return SurroundingsError(
        f"{there} in the Hub's cache differs from the Hub's digest of {name}",
        remedy="Run the same command again: the file is downloaded instead. The copy was left as it is.",
    )


def _digest_of(entry: FileEntry) -> Any:
    """Return what takes the digest that the Hub lists: SHA-256, or git's for a small file."""
    if entry.sha256:
        return hashlib.sha256()
    return hashlib.sha1(f"blob {entry.size}\0".encode(), usedforsecurity=False)


def _blocks(descriptor: int, end: int) -> Iterator[bytes]:
    """Yield the bytes of an open file up to `end`."""
    at = 0
    while at < end and (block := os.pread(descriptor, min(_BLOCK, end - at), at)):
        at += len(block)
        yield block


def _write(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written
