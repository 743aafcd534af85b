"""An own reader of packed weights, one row at a time and as simple as can be: what the quick readers are compared with.

It shares no table, no layout and no arithmetic with `engine/unpacking_*.py`, and computes in float64.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.model.packed_weight import PackedWeight

Exact = NDArray[np.float64]
_AS: Mapping[str, str] = {
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "U32": "<u4",
    "I16": "<i2",
    "U16": "<u2",
    "I8": "i1",
    **dict.fromkeys(("U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), "u1"),
}


class Stored:
    """The tensors of one weight."""

    def __init__(self, weight: PackedWeight, files: TensorFiles) -> None:
        """Read nothing yet."""
        self._weight, self.files = weight, files
        self._whole: dict[str, NDArray[Any]] = {}

    def has(self, part: str) -> bool:
        """Return whether the weight has a part."""
        return part in self._weight.parts

    def type_of(self, part: str) -> str:
        """Return safetensors' name of its type."""
        return self.files.stored[self._weight.parts[part]].info.dtype

    def row(self, part: str, row: int) -> NDArray[Any]:
        """Return a row of a part; all its sides but the last are rows."""
        info = self.files.stored[self._weight.parts[part]].info
        return self._read(part, row * info.shape[-1], info.shape[-1])

    def bytes_at(self, part: str, first: int, count: int) -> NDArray[Any]:
        """Return bytes of a part, in whatever shape and type they are stored."""
        stored = self.files.stored[self._weight.parts[part]]
        data = bytearray(count)
        self.files.read_into(stored.path, stored.offset + first, memoryview(data))
        return np.frombuffer(data, "u1")

    def whole(self, part: str) -> NDArray[Any]:
        """Return a part whole, in its shape, as it is stored."""
        if part not in self._whole:
            info = self.files.stored[self._weight.parts[part]].info
            self._whole[part] = self._read(part, 0, info.size).reshape(info.shape)
        return self._whole[part]

    def numbers(self, part: str) -> Exact:
        """Return a part of floats whole, as numbers."""
        return numbers(self.whole(part), self.type_of(part))

    def _read(self, part: str, first: int, count: int) -> NDArray[Any]:
        stored = self.files.stored[self._weight.parts[part]]
        kind = np.dtype(_AS[stored.info.dtype])
        data = bytearray(count * kind.itemsize)
        self.files.read_into(stored.path, stored.offset + first * kind.itemsize, memoryview(data))
        return np.frombuffer(data, kind)


def numbers(stored: NDArray[Any], kind: str) -> Exact:
    """Return stored floats of a type as numbers."""
    if kind in _SMALL or kind == "F8_E8M0":
        looked_up: Exact = _table(kind)[stored]
        return looked_up
    values = (stored.astype("<u4") << 16).view("<f4") if kind == "BF16" else stored
    return np.asarray(values, np.float64)


@functools.cache
def _table(kind: str) -> Exact:
    """Return the number of each byte; of `F4`, which holds two, both of them."""
    if kind == "F4":
        return np.array([[_half(code, upper=upper) for upper in (False, True)] for code in range(256)])
    if kind == "F8_E8M0":
        return np.array([2.0 ** (code - 127) for code in range(255)] + [float("nan")])
    return np.array([_small(code, *_SMALL[kind]) for code in range(256)])


_SMALL = {"F8_E4M3": (4, 3), "F8_E5M2": (5, 2)}


def _small(code: int, exponent_bits: int, fraction_bits: int) -> float:
    """Return the number of a byte: sign, exponent, fraction."""
    bits = f"{code:08b}"
    sign, exponent, fraction = bits[0], int(bits[1 : 1 + exponent_bits], 2), int(bits[1 + exponent_bits :], 2)
    if exponent_bits == 4 and bits[1:] == "1111111":
        return float("nan")
    if exponent_bits == 5 and exponent == 31:
        return float("nan") if fraction else float("-inf" if sign == "1" else "inf")
    bias = 2 ** (exponent_bits - 1) - 1
    size = fraction / 2**fraction_bits
    value: float = (1 + size) * 2.0 ** (exponent - bias) if exponent else size * 2.0 ** (1 - bias)
    return -value if sign == "1" else value


def _floats(weight: PackedWeight, stored: Stored, row: int) -> Exact:
    """Read a row of 8-bit or 4-bit floats: byte, scale of its block, and scale of the tensor."""
    options, (rows, columns) = weight.options, weight.shape[-2:]
    matrix, inner = divmod(row, rows)
    step = int(options.get("step", 1))
    high, there = rows * step, inner * step + int(options.get("first", 0))
    if options.get("packed") == "columns":
        data = stored.bytes_at("weight", (matrix * high + there) * columns // 2, columns // 2)
        values = _table("F4")[data].reshape(-1)
    elif options.get("packed") == "rows":
        data = stored.bytes_at("weight", (matrix * high + there) // 2 * columns, columns)
        values = _table("F4")[data, there % 2]
    else:
        kind = "F8_E5M2" if options["float"] == "e5m2" else "F8_E4M3"
        values = numbers(stored.bytes_at("weight", (matrix * high + there) * columns, columns), kind)
    exact: Exact = values * _scales_of(weight, stored, matrix if options["each"] else 0, there)
    if stored.has("global_scale"):
        of_all = stored.numbers("global_scale").reshape(-1)
        parts = max(1, len(of_all) * rows // prod(weight.shape[:-1]))
        scale = of_all[0] if len(of_all) == 1 else of_all[matrix * parts + inner * parts // rows]
        exact = exact / scale if options["global"] == "over" else exact * scale
    return exact


def _scales_of(weight: PackedWeight, stored: Stored, matrix: int, row: int) -> Exact:
    """Return the scale of each number of a row, as it lies there."""
    kind = {"e8m0": "F8_E8M0", "e4m3": "F8_E4M3"}.get(str(weight.options["scale"])) or stored.type_of("scales")
    whole, (high, wide), columns = stored.whole("scales").reshape(-1), weight.block, weight.shape[-1]
    across = (columns + wide - 1) // wide if wide else 1
    down = (weight.shape[-2] * int(weight.options.get("step", 1)) + high - 1) // high if high else 1
    start = (matrix * down + (row // high if high else 0)) * across
    return numbers(whole[start + (np.arange(columns) // wide if wide else np.zeros(columns, int))], kind)


def _half(byte: int, *, upper: bool) -> float:
    """Return one of two numbers of a byte: sign, two bits of exponent, one of fraction."""
    bits = f"{byte:08b}"[:4] if upper else f"{byte:08b}"[4:]
    exponent, half = int(bits[1:3], 2), int(bits[3]) / 2
    size = (1 + half) * 2.0 ** (exponent - 1) if exponent else half
    return -size if bits[0] == "1" else size


Reader = Callable[[PackedWeight, Stored, int], Exact]
"""Takes a weight, its tensors and a row (all sides but the last are rows); returns the row's exact numbers."""
FORMS: Mapping[str, Reader] = {"fp8": _floats, "mxfp4": _floats, "nvfp4": _floats}
