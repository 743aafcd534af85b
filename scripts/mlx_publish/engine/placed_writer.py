"""Write safetensors at their places in any order: what stands where is known before anything is computed.

Files, headers and index are those of `ShardWriter`. A file has its full size from the beginning and takes space as it
is written; what lies there already stays, so that a conversion goes on after it was killed.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.stream import files_of, header, index
from mlx_publish.model.weights import INDEX

if TYPE_CHECKING:
    from typing_extensions import Self

_AT_ONCE = 4 << 20
"""Bytes that are read at once for a digest."""
_WORTH = 16 << 20
"""Bytes from which on a digest is taken further while others are still made."""


@dataclass
class _File:
    path: Path
    header: bytes
    size: int
    ends: list[tuple[str, int]]
    """Its tensors in their order, with the offset behind each."""
    descriptor: int = -1
    fresh: bool = True
    dirty: bool = False
    """Whether something was written since it was last brought to the disk."""
    first: int = 0
    """The first tensor that is not whole."""
    asked: int = 0
    """Bytes from the front whose digest is taken, or asked for."""
    digest: Any = field(default_factory=hashlib.sha256)

    def open(self) -> None:
        """Take a file of the same size and header as it lies there, or begin it."""
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        same_size = os.fstat(self.descriptor).st_size == self.size
        self.fresh = not (same_size and os.pread(self.descriptor, len(self.header), 0) == self.header)
        if self.fresh:
            os.ftruncate(self.descriptor, 0)
            _put(self.descriptor, 0, memoryview(self.header))
            os.ftruncate(self.descriptor, self.size)
            self.dirty = True


class PlacedWriter:
    """Writes rows of the tensors of one model, from any thread, and takes the digests of its files by reading them."""

    def __init__(self, folder: Path, planned: Sequence[tuple[str, mx.array]], parameters: int) -> None:
        """Take (name, lazy array) of all tensors: shapes and types are known before anything is computed."""
        self.sha256: dict[str, str] = {}
        """SHA-256 of what was written, by the names of the files; complete when it is finished."""
        self._folder, self._parameters = folder, parameters
        folder.mkdir(parents=True, exist_ok=True)
        self._where: dict[str, str] = {}
        self._files: dict[str, _File] = {}
        self._places: dict[str, tuple[_File, int]] = {}
        for name, shard in files_of(planned).items():
            head = header(shard)
            file, start = _File(folder / name, head, 0, []), len(head)
            for tensor, array in shard.items():
                self._where[tensor], self._places[tensor] = name, (file, start)
                start += array.nbytes
                file.ends.append((tensor, start))
            file.size = start
            self._files[name] = file
        self.sizes = {name: array.nbytes for name, array in planned}
        """Bytes of each tensor."""
        self._left = {name: size for name, size in self.sizes.items() if size}
        self._lock = threading.Lock()
        self._writing, self._digesting = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._digests: list[Future[None]] = []
        for file in self._files.values():
            file.open()

    @property
    def fresh(self) -> bool:
        """Return whether a file was begun anew, so that nothing of it lies there."""
        return any(file.fresh for file in self._files.values())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writing.shutdown(cancel_futures=True)
        self._digesting.shutdown(cancel_futures=True)
        for file in self._files.values():
            os.close(file.descriptor)

    def write(self, name: str, bits: NDArray[Any]) -> None:
        """Write a whole tensor. ValueError if it was not announced, or has another size."""
        self.write_rows(name, bits, 0, 1, 1).result()

    def write_rows(self, name: str, bits: NDArray[Any], first: int, last: int, count: int) -> Future[None]:
        """Write the rows from `first` on, before `last`, of a tensor whose bytes are those of `count` rows.

        A thread writes them, so that whoever makes rows does not wait for the disk; they lie there when its result is
        there. ValueError if the tensor was not announced, or the rows have other bytes than announced.
        """
        start, size = self._at(name, first, last, count)
        if bits.nbytes != size:
            raise ValueError(f"{name} has other rows than announced")
        return self._writing.submit(self._write, name, start, bits)

    def _write(self, name: str, start: int, bits: NDArray[Any]) -> None:
        if not bits.nbytes:
            return
        file, place = self._places[name]
        with self._lock:
            file.dirty = True
        _put(file.descriptor, place + start, np.ascontiguousarray(bits).data.cast("B"))
        self._lies_there(name, bits.nbytes)

    def written(self, name: str, first: int, last: int, count: int) -> None:
        """Note that rows lie there already."""
        _, size = self._at(name, first, last, count)
        if size:
            self._lies_there(name, size)

    def _at(self, name: str, first: int, last: int, count: int) -> tuple[int, int]:
        if name not in self.sizes:
            raise ValueError(f"{name} was not announced")
        row, rest = divmod(self.sizes[name], count or 1)
        if rest or not 0 <= first <= last <= count:
            raise ValueError(f"{name} has no such rows")
        return first * row, (last - first) * row

    def _lies_there(self, name: str, size: int) -> None:
        with self._lock:
            if size > self._left.get(name, 0):
                raise ValueError(f"{name} is written already")
            self._left[name] -= size
            if self._left[name]:
                return
            del self._left[name]
            file, _ = self._places[name]
            while file.first < len(file.ends) and file.ends[file.first][0] not in self._left:
                file.first += 1
            end = file.ends[file.first - 1][1] if file.first else 0
            if end - file.asked >= _WORTH or (end == file.size and end > file.asked):
                self._ask(file, end)

    def _ask(self, file: _File, end: int) -> None:
        self._digests.append(self._digesting.submit(_take, file, file.asked, end))
        file.asked = end

    def sync(self) -> None:
        """Bring all that was written to the disk."""
        with self._lock:
            dirty = [file for file in self._files.values() if file.dirty]
            for file in dirty:
                file.dirty = False
        for file in dirty:
            os.fsync(file.descriptor)

    def finish(self) -> None:
        """Write the index, and wait for all digests. ValueError if something of a tensor is missing."""
        if self._left:
            raise ValueError(f"{next(iter(self._left))} was announced but not written whole")
        for file in self._files.values():
            if file.asked < file.size:
                self._ask(file, file.size)
        for digest in self._digests:
            digest.result()
        self.sync()
        self.sha256.update({name: file.digest.hexdigest() for name, file in self._files.items()})
        data = index(self._where, sum(self.sizes.values()), self._parameters)
        (self._folder / INDEX).write_bytes(data)
        self.sha256[INDEX] = hashlib.sha256(data).hexdigest()

    @property
    def files(self) -> list[Path]:
        """Return the paths of the weight files, and of the index that `finish` writes."""
        return [*(file.path for file in self._files.values()), self._folder / INDEX]


def _put(descriptor: int, start: int, data: memoryview) -> None:
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], start + done)


def _take(file: _File, start: int, end: int) -> None:
    """Take the digest of a file further, by reading."""
    buffer = bytearray(min(_AT_ONCE, end - start))
    while start < end:
        view = memoryview(buffer)[: min(len(buffer), end - start)]
        count = os.preadv(file.descriptor, [view], start)
        if not count:
            raise ValueError(f"{file.path.name} became shorter while it was read")
        file.digest.update(view[:count])
        start += count
