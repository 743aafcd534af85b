"""The numbers of an adapter, looked at without computing: those that are none, and tensors that are the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal

from mlx_publish.model.weights import MAX_HEADER, TensorInfo
from mlx_publish.text.bounds import HEADER
from mlx_publish.text.json_text import parse

_CODES: Mapping[str, Literal["I", "H"]] = {"F32": "I", "F16": "H", "BF16": "H"}
_TOP = {"F32": 0x7F, "BF16": 0x7F, "F16": 0x7C}
"""Bits of the exponent within the highest byte of a number."""


@dataclass(frozen=True)
class Values:
    """A safetensors file in memory."""

    tensors: Sequence[TensorInfo]
    data: bytes

    @cached_property
    def _offsets(self) -> dict[str, int]:
        length = int.from_bytes(self.data[:8], "little")
        header = parse(self.data[8 : 8 + min(length, MAX_HEADER)], HEADER)
        return {tensor.name: 8 + length + int(header[tensor.name]["data_offsets"][0]) for tensor in self.tensors}

    @cached_property
    def _by_name(self) -> dict[str, TensorInfo]:
        return {tensor.name: tensor for tensor in self.tensors}

    def bytes_of(self, name: str) -> memoryview:
        """Return the bytes of a tensor."""
        start = self._offsets[name]
        return memoryview(self.data)[start : start + self._by_name[name].nbytes]

    def not_finite(self) -> Iterator[str]:
        """Yield the tensors that hold NaN or infinity."""
        return (tensor.name for tensor in self.tensors if _has_none(tensor.dtype, self.bytes_of(tensor.name)))

    def all_zero(self, parts: Sequence[str]) -> bool:
        """Return whether all tensors with one of these words in their names are zero, and there are such ones."""
        named = [tensor.name for tensor in self.tensors if any(part in tensor.name.split(".") for part in parts)]
        return bool(named) and all(not bytes(self.bytes_of(name)).strip(b"\0\x80") for name in named)

    def same(self, one: str, other: str, turned: bool) -> bool:
        """Return whether two tensors hold the same numbers in the same type, the second one transposed if `turned`."""
        left, right = self._by_name[one], self._by_name[other]
        if left.dtype != right.dtype or left.size != right.size:
            return False
        if not turned:
            return left.shape == right.shape and self.bytes_of(one) == self.bytes_of(other)
        if len(left.shape) != 2 or left.shape != tuple(reversed(right.shape)):
            return False
        code, (rows, columns) = _CODES[left.dtype], left.shape
        a, b = self.bytes_of(one).cast(code), self.bytes_of(other).cast(code)
        return all(a[row * columns : (row + 1) * columns] == b[row::rows] for row in range(rows))


def _has_none(dtype: str, data: memoryview) -> bool:
    """Return whether little-endian floats hold one whose exponent is all ones; other types are not looked at."""
    if dtype not in _TOP:
        return False
    size, top = (4 if dtype == "F32" else 2), _TOP[dtype]
    high = bytes(data[size - 1 :: size])
    full = high.translate(bytes(byte & top == top for byte in range(256)))
    if dtype == "F16":
        return b"\x01" in full
    low = bytes(data[size - 2 :: size])  # its first bit is the last of the exponent
    return any(low[at] >> 7 for at in _places(full))


def _places(flags: bytes) -> Iterator[int]:
    at = flags.find(1)
    while at >= 0:
        yield at
        at = flags.find(1, at + 1)


def some(names: Iterator[str], most: int = 3) -> list[str]:
    """Return the first few."""
    return list(islice(names, most))
