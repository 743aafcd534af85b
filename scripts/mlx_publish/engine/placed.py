"""Tensors of safetensors files by their place in the file, read piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.errors import Refused
from mlx_publish.model.weights import MAX_HEADER, TensorInfo, header_of
from mlx_publish.text.bounds import HEADER
from mlx_publish.text.json_text import parse


@dataclass(frozen=True)
class Placed:
    """A tensor, its file and the offset of its first byte there."""

    info: TensorInfo
    path: Path
    offset: int


def placed(name: str, path: Path) -> list[Placed]:
    """Return the tensors of a file that messages call `name`. Raises `Refused` as `header_of` does."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        data = start + file.read(length if length <= min(MAX_HEADER, size) else 0)
    tensors = header_of(name, data, size)
    header = parse(data[8 : 8 + length], HEADER)
    return [Placed(tensor, path, 8 + length + header[tensor.name]["data_offsets"][0]) for tensor in tensors]


def pieces(one: Placed, other: Placed, most: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the bytes of two tensors of one size, at most `most` at a time. `Refused` if a file became shorter."""
    left = one.info.nbytes
    with one.path.open("rb") as first, other.path.open("rb") as second:
        first.seek(one.offset)
        second.seek(other.offset)
        while left:
            pair = first.read(min(most, left)), second.read(min(most, left))
            if not len(pair[0]) == len(pair[1]) == min(most, left):
                raise Refused(
                    "changed while it was being read",
                    place=one.path.name,
                    remedy="Let nothing else write to these files, and run the same command again.",
                )
            left -= len(pair[0])
            yield pair
