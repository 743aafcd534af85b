"""Write safetensors piece by piece: a whole model never has to be in memory to be stored.

Format: https://huggingface.co/docs/safetensors. The names of the files, their size limit and the index are mlx-lm's.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections import OrderedDict, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.backends import backend
from mlx_publish.model.weights import INDEX

if TYPE_CHECKING:
    from typing_extensions import Self

_NAMES = {
    mx.bfloat16: "BF16", mx.float16: "F16", mx.float32: "F32", mx.uint32: "U32", mx.uint8: "U8", mx.int8: "I8",
    mx.int32: "I32", mx.int64: "I64", mx.uint16: "U16", mx.int16: "I16", mx.bool_: "BOOL", mx.uint64: "U64",
}  # fmt: skip


_QUEUED = 8
"""Pieces that wait for the disk."""
_WORTH = 1 << 18
"""Bytes from which on a digest is taken while they are written."""


class ShardWriter:
    """Writes the tensors of one model in the order in which they were announced, and takes the digests of its files.

    A tensor may come in several pieces, and before its turn: then it waits in memory. Digests are taken of what is
    written, by a thread that does nothing else.
    """

    def __init__(self, folder: Path, planned: Sequence[tuple[str, mx.array]], parameters: int) -> None:
        """Take (name, lazy array) of all tensors: shapes and types are known before anything is computed."""
        self.sha256: dict[str, str] = {}
        """SHA-256 of what was written, by the names of the files."""
        self._folder, self._parameters = folder, parameters
        folder.mkdir(parents=True, exist_ok=True)
        self._where: dict[str, str] = {}
        self._headers: dict[str, bytes] = {}
        for file, shard in files_of(planned).items():
            self._where.update(dict.fromkeys(shard, file))
            self._headers[file] = header(shard)
        self._bytes = sum(array.nbytes for _, array in planned)
        # Its first entry is found at once however many went before; a dict looks at the places of all of them.
        self._left = OrderedDict((name, array.nbytes) for name, array in planned if array.nbytes)
        """Bytes of each tensor that are not written yet, in their order."""
        self._early: dict[str, list[Any]] = {}
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._thread, self._digesting = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._queue: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close what is open; a file that is not whole is left to the caller's temporary folder."""
        self._thread.shutdown(cancel_futures=True)
        self._digesting.shutdown()
        if self._file is not None:
            self._file.close()

    def write(self, name: str, bits: NDArray[Any]) -> None:
        """Write the next piece of a tensor. ValueError if it was not announced, or is longer than announced."""
        if not bits.size:
            return
        if name not in self._left:
            raise ValueError(f"{name} was not announced, or is written already")
        if name != next(iter(self._left)):
            self._early.setdefault(name, []).append(bits)
            return
        self._append(name, bits)
        while self._left and (early := self._early.pop(next(iter(self._left)), [])):
            name = next(iter(self._left))
            for piece in early:
                self._append(name, piece)

    def finish(self) -> None:
        """Write the index. ValueError if a tensor is missing."""
        self._wait(0)
        if self._left:
            raise ValueError(f"{next(iter(self._left))} was announced but not written whole")
        for file in list(self._headers):  # one of tensors without numbers
            self._write(file, np.empty(0), last=True)
        data = index(self._where, self._bytes, self._parameters)
        (self._folder / INDEX).write_bytes(data)
        self.sha256[INDEX] = hashlib.sha256(data).hexdigest()

    def _append(self, name: str, bits: NDArray[Any]) -> None:
        """Hand a piece of the tensor whose turn it is to the thread."""
        if bits.nbytes > self._left[name]:
            raise ValueError(f"{name} is longer than announced")
        self._left[name] -= bits.nbytes
        whole = not self._left[name]
        if whole:
            del self._left[name]
        last = whole and (not self._left or self._where[next(iter(self._left))] != self._where[name])
        self._queue.append(self._thread.submit(self._write, self._where[name], bits, last=last))
        self._wait(_QUEUED)

    def _wait(self, most: int) -> None:
        while len(self._queue) > most:
            self._queue.popleft().result()

    def _write(self, file: str, bits: NDArray[Any], *, last: bool) -> None:
        if self._file is None:
            self._file, self._digest = (self._folder / file).open("wb"), hashlib.sha256()
            self._put(self._headers.pop(file))
        if bits.size:  # there is no memory to look at otherwise
            self._put(np.ascontiguousarray(bits).data.cast("B"))
        if last:
            self._file.close()
            self._file = None
            self.sha256[file] = self._digest.hexdigest()

    def _put(self, data: bytes | memoryview) -> None:
        assert self._file is not None  # noqa: S101  opened above
        if len(data) < _WORTH:
            self._digest.update(data)
            self._file.write(data)
            return
        digested = self._digesting.submit(self._digest.update, data)
        self._file.write(data)
        digested.result()


def files_of(planned: Sequence[tuple[str, mx.array]]) -> dict[str, dict[str, mx.array]]:
    """Return the names of a model's weight files with the tensors of each, in the order in which they lie there."""
    shards = backend().shards(dict(planned))
    if len(shards) == 1:
        return {"model.safetensors": shards[0]}
    return {f"model-{number:05d}-of-{len(shards):05d}.safetensors": shard for number, shard in enumerate(shards, 1)}


def index(where: Mapping[str, str], size: int, parameters: int) -> bytes:
    """Return the index of a model: the file of each tensor, the bytes of all, the parameters as the library counts."""
    entries: dict[str, Any] = {
        "metadata": {"total_size": size, "total_parameters": parameters},
        "weight_map": dict(sorted(where.items())),
    }
    return json.dumps(entries, indent=4).encode()


def header(shard: Mapping[str, mx.array]) -> bytes:
    """Return what stands in front of the data of a weight file."""
    entries: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    offset = 0
    for name, array in shard.items():
        end = offset + array.nbytes
        entries[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of 8, as the format recommends
    return struct.pack("<Q", len(text)) + text
