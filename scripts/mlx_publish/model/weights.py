"""Weights by their headers: names, types, shapes and sizes, without reading a tensor.

Source: https://huggingface.co/docs/safetensors, "Format": 8 bytes little-endian length, JSON, data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_publish.errors import Refused

MAX_HEADER = 100_000_000  # the limit of the safetensors library itself


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: safetensors' name of its type, as `BF16`, its shape and its bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


def parse_header(data: bytes) -> tuple[TensorInfo, ...]:
    """Tensors by the first bytes of a safetensors file. ValueError where they are no such header."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= MAX_HEADER or len(data) < 8 + length:
        raise ValueError("no safetensors header")
    header = json.loads(data[8 : 8 + length])
    return tuple(_tensor(name, entry) for name, entry in header.items() if name != "__metadata__")


def read_header(path: Path) -> tuple[TensorInfo, ...]:
    """Tensors of a file, checked against its length.

    Raises `Refused` naming the file where it is not safetensors, is cut short or is a git-lfs pointer.
    """
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        data = start + file.read(length if length <= MAX_HEADER else 0)
    try:
        tensors = parse_header(data)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        pointer = data.startswith(b"version ") or start == b"version "
        reason = "is a git-lfs pointer, not the weights" if pointer else f"is not safetensors: {error}"
        raise Refused(reason, place=path.name, remedy="Download the file again, whole.") from error
    expected = len(data) + sum(tensor.nbytes for tensor in tensors)
    if path.stat().st_size < expected:
        raise Refused(
            f"has {path.stat().st_size:,} of the {expected:,} bytes that its header promises",
            place=path.name, remedy="Download the file again, whole.",
        )  # fmt: skip
    return tensors


def _tensor(name: str, entry: Mapping[str, Any]) -> TensorInfo:
    first, last = entry["data_offsets"]
    return TensorInfo(name, entry["dtype"], tuple(entry["shape"]), last - first)


def weight_files(paths: Iterable[str], index: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the one set of weight files: those of the index, else `model.safetensors`, else all on top.

    mlx-lm itself reads every `model*.safetensors` it finds, so a second set would overwrite the first.
    Raises `Refused` where the index is none.
    """
    if index is not None:
        listed = index.get("weight_map")
        if not isinstance(listed, Mapping) or not all(isinstance(path, str) for path in listed.values()):
            raise Refused("has no weight_map of tensors to files", place="model.safetensors.index.json")
        return tuple(sorted(set(listed.values())))
    top = sorted(path for path in paths if path.endswith(".safetensors") and "/" not in path)
    if "model.safetensors" in top:
        return ("model.safetensors",)
    return tuple(path for path in top if path.startswith("model"))


def parameter_count(tensors: Iterable[TensorInfo], quantization: Mapping[str, Any] | None = None) -> int:
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
            own = quantization.get(stem)
            group = own["group_size"] if isinstance(own, Mapping) else quantization["group_size"]
            count += scales.size * int(group)
        elif kind not in ("scales", "biases"):
            count += tensor.size
    return count


def bits_per_weight(tensors: Iterable[TensorInfo], quantization: Mapping[str, Any] | None) -> float:
    """Bits on disk for each weight, scales and all: 4.5 for 4 bits with groups of 64; 0 where there is none."""
    kept = tuple(tensors)
    return 8 * sum(tensor.nbytes for tensor in kept) / (parameter_count(kept, quantization) or 1)
