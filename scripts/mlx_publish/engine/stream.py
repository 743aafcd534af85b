"""Write safetensors piece by piece: a whole model never has to be in memory to be stored.

Format: https://huggingface.co/docs/safetensors. The names of the files, their size limit and the index are mlx-lm's.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import mlx.core as mx
import numpy as np

from mlx_publish.engine.backends import backend
from mlx_publish.model.weights import INDEX

_NAMES = {
    mx.bfloat16: "BF16", mx.float16: "F16", mx.float32: "F32", mx.uint32: "U32", mx.uint8: "U8", mx.int8: "I8",
    mx.int32: "I32", mx.int64: "I64", mx.uint16: "U16", mx.int16: "I16", mx.bool_: "BOOL", mx.uint64: "U64",
}  # fmt: skip


@dataclass
class ShardWriter:
    """Writes the tensors of one model in the order in which they were announced.

    `planned` holds (name, lazy array): shapes and types are known before anything is computed.
    """

    folder: Path
    planned: Sequence[tuple[str, mx.array]]
    parameters: int
    _names: list[str] = field(default_factory=list)
    _shards: list[dict[str, mx.array]] = field(default_factory=list)
    _file: BinaryIO | None = None
    _where: dict[str, str] = field(default_factory=dict)
    _bytes: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        shards = backend().shards(dict(self.planned))
        count = len(shards)
        for number, shard in enumerate(shards, 1):
            file = "model.safetensors" if count == 1 else f"model-{number:05d}-of-{count:05d}.safetensors"
            self._where.update(dict.fromkeys(shard, file))
        self._bytes = sum(array.nbytes for _, array in self.planned)
        self._shards = [{name: mx.array(0) for name in shard} for shard in shards]
        self._headers = [_header(shard) for shard in shards]
        self._names = [name for name, _ in self.planned]
        self.planned = ()  # the arrays must be free to go once they are written

    def write(self, name: str, array: mx.array) -> None:
        """Write the next tensor; ValueError if it is not the announced one."""
        if not self._names or self._names[0] != name:
            raise ValueError(f"{name} is out of order")
        self._names.pop(0)
        if self._file is None:
            self._file = (self.folder / self._where[name]).open("wb")
            self._file.write(self._headers.pop(0))
        self._file.write(_bytes_of(array))
        del self._shards[0][name]
        if not self._shards[0]:
            self._shards.pop(0)
            self._file.close()
            self._file = None

    def finish(self) -> None:
        """Write the index. ValueError if a tensor is missing."""
        if self._names:
            raise ValueError(f"{self._names[0]} was announced but not written")
        index: dict[str, Any] = {
            "metadata": {"total_size": self._bytes, "total_parameters": self.parameters},
            "weight_map": dict(sorted(self._where.items())),
        }
        (self.folder / INDEX).write_text(json.dumps(index, indent=4))


def _header(shard: dict[str, mx.array]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    offset = 0
    for name, array in shard.items():
        end = offset + array.nbytes
        entries[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of 8, as the format recommends
    return struct.pack("<Q", len(text)) + text


def _bytes_of(array: mx.array) -> memoryview:
    """Return the array's bytes; numpy has no bfloat16, so its bits travel as integers."""
    if array.size == 0:  # there is no memory to look at
        return memoryview(b"")
    bits = mx.view(array, mx.uint16) if array.dtype == mx.bfloat16 else array
    return np.ascontiguousarray(np.array(bits, copy=False)).data.cast("B")
