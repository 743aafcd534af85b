"""Tensors where they lie in a model's files: rows of them are read without the rest.

MLX reads a tensor whole or not at all. One that is larger than an evaluation may read is given to it in pieces.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import mlx.core as mx

from mlx_publish.errors import Refused
from mlx_publish.model.weights import Stored, stored_in

UNREAD = 256 << 20
"""Bytes that one evaluation reads at most. Metal ends work that waits for a disk (mlx-lm #1633)."""


class TensorFiles:
    """The weight files of a folder that mlx-lm reads, each opened at its first read and closed with this object."""

    def __init__(self, folder: Path) -> None:
        """Read the headers; a file that has none is left to MLX, which says why."""
        every: list[Stored] = []
        for path in sorted(folder.glob("model*.safetensors")):
            with contextlib.suppress(Refused):
                every += stored_in(path)
        names = Counter(tensor.name for tensor in every)
        self.stored = {tensor.name: tensor for tensor in every if names[tensor.name] == 1}
        """By name; without names that several files have."""
        self._open: dict[Path, int] = {}
        self._lock = threading.Lock()

    def __del__(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def _descriptor(self, path: Path) -> int:
        with self._lock:
            if path not in self._open:
                self._open[path] = os.open(path, os.O_RDONLY)
            return self._open[path]

    def read_into(self, path: Path, start: int, buffer: memoryview) -> None:
        """Fill a buffer with the bytes of a file from `start` on. `Refused` if the file ends before."""
        done, descriptor = 0, self._descriptor(path)
        while done < len(buffer):
            count = os.preadv(descriptor, [buffer[done:]], start + done)
            if count == 0:
                raise Refused(
                    "the file became shorter while it was read",
                    check="source-unchanged",
                    place=path.name,
                    remedy="Make sure that nothing writes to the source, then run the same command again.",
                )
            done += count

    def in_pieces(self, arrays: Mapping[str, mx.array], most: int = UNREAD) -> dict[str, list[mx.array]]:
        """Return the arrays that take more than `most` bytes to read, each as lazy pieces of its rows, in their order.

        One is left out if a single of its rows is larger, or if it is not what its file holds under its name.
        """
        large = [
            self.stored[name]
            for name, array in arrays.items()
            if array.nbytes > most and name in self.stored and self.stored[name].is_like(array.shape, array.nbytes)
        ]
        pieces: dict[str, list[mx.array]] = {}
        for path in dict.fromkeys(tensor.path for tensor in large):
            pieces |= self._pieces(path, [tensor for tensor in large if tensor.path == path], most)
        return pieces

    def _pieces(self, path: Path, tensors: Iterable[Stored], most: int) -> dict[str, list[mx.array]]:
        header: dict[str, Any] = {}
        keys: dict[str, list[str]] = {}
        for tensor in tensors:
            rows = tensor.shape[0]
            each, step = tensor.nbytes // rows, max(1, most // (tensor.nbytes // rows))
            for first in range(0, rows, step):
                last = min(rows, first + step)
                key = f"{len(header)}"
                keys.setdefault(tensor.name, []).append(key)
                places = [tensor.start + first * each, tensor.start + last * each]
                shape = [last - first, *tensor.shape[1:]]
                header[key] = {"dtype": tensor.dtype, "shape": shape, "data_offsets": places}
        view: Any = _View(self, path, header)
        arrays = cast("dict[str, mx.array]", mx.load(view, format="safetensors"))
        return {name: [arrays[key] for key in of] for name, of in keys.items()}


class _View:
    """A file that MLX reads: other names for the bytes of `path`, which are counted from its beginning."""

    def __init__(self, files: TensorFiles, path: Path, header: Mapping[str, Any]) -> None:
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        self._head = struct.pack("<Q", len(text)) + text
        self._files, self._path = files, path
        self._size = len(self._head) + path.stat().st_size
        self._at = 0
        self.closed = False
        self.name = path.name

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def read(self, size: int) -> bytes:
        data = bytearray(size)
        return bytes(data[: self.readinto(data)])

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the header or from the file, never from both: MLX reads them one after the other."""
        target = memoryview(buffer).cast("B")
        if self._at < len(self._head):
            part = self._head[self._at : self._at + len(target)]
            target[: len(part)] = part
            self._at += len(part)
            return len(part)
        self._files.read_into(self._path, self._at - len(self._head), target)
        self._at += len(target)
        return len(target)


def evaluate(arrays: Iterable[mx.array], most: int = UNREAD) -> None:
    """Evaluate arrays that are read from files, of which none is larger than `most`, so many at once as fit it."""
    waiting: list[mx.array] = []
    unread = 0
    for array in arrays:
        if waiting and unread + array.nbytes > most:
            mx.eval(waiting)
            waiting, unread = [], 0
        waiting.append(array)
        unread += array.nbytes
    if waiting:
        mx.eval(waiting)
