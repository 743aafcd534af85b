"""Weights by their headers: names, types, shapes and sizes, without reading a tensor.

Source: https://huggingface.co/docs/safetensors, "Format": 8 bytes little-endian length, JSON, data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mlx_publish.errors import Refused
from mlx_publish.text.bounds import HEADER
from mlx_publish.text.json_text import parse

MAX_HEADER = HEADER.most_bytes
DTYPE_BITS: Mapping[str, int] = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16,
    "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F6_E2M3": 6, "F6_E3M2": 6,
    "F4": 4,
}  # fmt: skip
_MOST_SIDES, _SHOWN = 16, 100
INDEX = "model.safetensors.index.json"
_NUMBERED = re.compile(r"model-(\d+)-of-(\d+)\.safetensors")


# What architectures call the matrix that has a row for each id.
EMBEDDING = re.compile(
    r"(^|\.)(embed_tokens|wte|word_embeddings|tok_embeddings|embeddings?|embed_in|embed|shared)\.weight$"
)


@dataclass(frozen=True)
class TensorInfo:
    """A tensor: safetensors' name of its type, as `BF16`, its shape and its bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int

    @property
    def size(self) -> int:
        """Return the number of elements."""
        return math.prod(self.shape)


def parse_header(data: bytes) -> tuple[TensorInfo, ...]:
    """Return the tensors by the first bytes of a safetensors file. ValueError if they are no such header."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= MAX_HEADER or len(data) < 8 + length:
        raise ValueError("no safetensors header")
    return tensors_of(parse(data[8 : 8 + length], HEADER))


def tensors_of(header: Mapping[str, Any]) -> tuple[TensorInfo, ...]:
    """Return the tensors of a header. ValueError if types, shapes and offsets do not fit each other.

    The format: all data is named, nothing twice and nothing left out, each tensor has the bytes of its shape.
    """
    tensors, spans = [], []
    for name, entry in header.items():
        if name == "__metadata__":
            # The library that mlx-lm reads with takes texts by name, and nothing else; MLX writes null for none.
            if entry is not None and (
                not isinstance(entry, Mapping) or not all(isinstance(value, str) for value in entry.values())
            ):
                raise ValueError("__metadata__ holds something else than texts by name")
        else:
            first, last = _sizes(name, entry["data_offsets"])
            tensors.append(_tensor(name, entry["dtype"], _sizes(name, entry["shape"]), last - first))
            spans.append((first, last, name))
    end = 0
    for first, last, name in sorted(spans):
        if first != end:
            fault = "overlaps others" if first < end else "begins after a gap"
            raise ValueError(f"the data of {name[:_SHOWN]} {fault}")
        end = last
    return tuple(tensors)


def _sizes(name: str, numbers: Iterable[object]) -> tuple[int, ...]:
    """Return places in the data, or sides of a tensor; the format has 64 bits for each."""
    sizes = tuple(number for number in numbers if type(number) is int and 0 <= number < 1 << 63)
    if len(sizes) < len(tuple(numbers)) or len(sizes) > _MOST_SIDES:
        raise ValueError(f"{name[:_SHOWN]} has an impossible shape or place")
    return sizes


def _tensor(name: str, dtype: str, shape: tuple[int, ...], nbytes: int) -> TensorInfo:
    tensor, shown = TensorInfo(name, dtype, shape, nbytes), name[:_SHOWN]
    if nbytes < 0:
        raise ValueError(f"{shown} has an impossible shape or place")
    bits = DTYPE_BITS.get(dtype)
    if bits is None:
        raise ValueError(f"{shown} has the type {str(dtype)[:_SHOWN]!r}, which the format does not know")
    if 8 * nbytes != -(-tensor.size * bits // 8) * 8:
        raise ValueError(f"{shown} has {nbytes:,} bytes, not those of {list(shape)} in {dtype}")
    return tensor


def header_end(data: bytes) -> int:
    """Return where the tensors begin, by the first bytes of a safetensors file: at least 8."""
    return 8 + int.from_bytes(data[:8], "little")


def read_header(path: Path) -> tuple[TensorInfo, ...]:
    """Return the tensors of a file, checked against its length. Raises `Refused` as `header_of` does."""
    with path.open("rb") as file:
        return read_header_of(file, path.name, path.stat().st_size)


def read_header_of(file: BinaryIO, name: str, size: int) -> tuple[TensorInfo, ...]:
    """Return the tensors of an open file of `size` bytes. Raises `Refused` as `header_of` does."""
    start = file.read(8)
    length = int.from_bytes(start, "little")
    # A length beyond the end of the file is none, and gets no memory.
    return header_of(name, start + file.read(length if length <= min(MAX_HEADER, size) else 0), size)


def header_of(name: str, data: bytes, size: int) -> tuple[TensorInfo, ...]:
    """Return the tensors by the beginning of a file of `size` bytes.

    Raises `Refused` naming the file where it is not safetensors, is cut short or is a git-lfs pointer.
    """
    try:
        tensors = parse_header(data)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        reason = "is a git-lfs pointer, not the weights" if is_pointer(data) else f"is not safetensors: {error}"
        raise Refused(reason, place=name, remedy="Download the file again, whole.") from error
    length = header_end(data)
    is_whole(name, size, length, tensors)
    if (more := size - length - sum(tensor.nbytes for tensor in tensors)) > 0:
        raise Refused(
            f"goes on for {more:,} bytes behind the last tensor that its header names",
            place=name,
            remedy="Download the file again, whole.",
        )
    return tensors


def is_pointer(data: bytes) -> bool:
    """Return whether these are the first bytes of what git-lfs leaves in place of a file."""
    return data.startswith(b"version https://git-lfs"[: max(len(data), 8)])


def is_whole(name: str, size: int, header: int, tensors: Iterable[TensorInfo]) -> None:
    """Raise `Refused` if a file of `size` bytes is shorter than its header and the tensors named there."""
    expected = header + sum(tensor.nbytes for tensor in tensors)
    if size < expected:
        raise Refused(
            f"has {size:,} of the {expected:,} bytes that its header promises",
            place=name,
            remedy="Download the file again, whole.",
        )


def weight_files(paths: Iterable[str], index: Mapping[str, object] | None) -> tuple[str, ...]:
    """Return the one set of weight files: those of the index, else `model.safetensors`, else the numbered ones.

    mlx-lm itself reads every `model*.safetensors` it finds, so a second set would overwrite the first.
    Without all of these it is what mlx-lm would read. Raises `Refused` if the index is none.
    """
    if index is not None:
        return tuple(sorted(set(weight_map(index).values())))
    top = sorted(path for path in paths if path.endswith(".safetensors") and "/" not in path)
    if "model.safetensors" in top:
        return ("model.safetensors",)
    numbered = tuple(path for path in top if _NUMBERED.fullmatch(path))
    return numbered or tuple(path for path in top if path.startswith("model"))


def weight_map(index: Mapping[str, object]) -> Mapping[str, str]:
    """Return files by tensor. Raises `Refused` if the index has no such map."""
    listed = index.get("weight_map")
    if not isinstance(listed, Mapping) or not all(isinstance(path, str) for path in listed.values()):
        raise Refused("has no weight_map of tensors to files", place=INDEX)
    return listed


def shard_numbers(paths: Iterable[str]) -> dict[int, set[int]]:
    """Return the numbers of `model-<number>-of-<total>.safetensors` by total."""
    numbers: dict[int, set[int]] = {}
    for path in paths:
        if match := _NUMBERED.fullmatch(path):
            numbers.setdefault(int(match[2]), set()).add(int(match[1]))
    return numbers


def parameter_count(tensors: Iterable[TensorInfo], quantization: Mapping[str, object] | None = None) -> int:
    """Return the number of weights that the tensors stand for.

    A quantized weight is packed into 32-bit words; its scales tell how many groups there are, and
    config.json's `quantization` how large a group is, for all layers or for one by its path.
    """
    by_name = {tensor.name: tensor for tensor in tensors}
    count = 0
    for name, tensor in by_name.items():
        stem, _, kind = name.rpartition(".")
        scales = by_name.get(f"{stem}.scales")
        if scales is None or quantization is None:
            count += tensor.size
        elif kind == "weight":
            count += scales.size * _group_size(quantization, stem)
        elif kind not in ("scales", "biases"):
            count += tensor.size
    return count


def _group_size(quantization: Mapping[str, object], layer: str) -> int:
    """Return the group size of a layer: its own, where the block has one for its path."""
    own = quantization.get(layer)
    size: Any = (own if isinstance(own, Mapping) else quantization)["group_size"]
    return int(size)


def bits_per_weight(tensors: Iterable[TensorInfo], quantization: Mapping[str, object] | None) -> float:
    """Return the bits on disk for each weight, scales and all: 4.5 for 4 bits with groups of 64; 0 without weights."""
    kept = tuple(tensors)
    return 8 * sum(tensor.nbytes for tensor in kept) / (parameter_count(kept, quantization) or 1)


def unpacked(tensors: Iterable[TensorInfo], quantization: Mapping[str, object] | None) -> Iterator[TensorInfo]:
    """Yield the tensors as they were before they were packed, in the type of their scales."""
    by_name = {tensor.name: tensor for tensor in tensors}
    for name, tensor in by_name.items():
        stem, _, kind = name.rpartition(".")
        scales = by_name.get(f"{stem}.scales")
        if scales is None or quantization is None:
            yield tensor
        elif kind == "weight":
            shape = (*scales.shape[:-1], scales.shape[-1] * _group_size(quantization, stem))
            # Scales of one byte say nothing of the type; there it does not count either.
            width = DTYPE_BITS.get(scales.dtype, 16)
            yield TensorInfo(name, scales.dtype, shape, math.prod(shape) * max(width, 16) // 8)


def embedding_of(tensors: Iterable[TensorInfo]) -> TensorInfo | None:
    """Return the matrix that has a row for each id, or None if no tensor is called like one."""
    matrices = [tensor for tensor in tensors if len(tensor.shape) == 2 and EMBEDDING.search(tensor.name)]
    return max(matrices, key=lambda tensor: tensor.shape[0], default=None)
