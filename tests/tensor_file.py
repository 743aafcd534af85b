"""Writes and reads safetensors files, bfloat16 included, with numpy alone.

numpy has no bfloat16, and the low-level writer of safetensors changed its arguments between versions. A file
is a length, a JSON header and the bytes: it is written here and depends on nothing but the tensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# uint16 stands for bfloat16: the upper half of a float32.
NAMES = {
    "uint16": "BF16",
    "float16": "F16",
    "float32": "F32",
    "int8": "I8",
    "uint8": "U8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint32": "U32",
}


def bfloat16(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """The bits of finite float32 `values` rounded to bfloat16, ties to even; the same shape."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded: NDArray[np.uint32] = bits + (((bits >> 16) & 1) + np.uint32(0x7FFF))
    return (rounded >> 16).astype(np.uint16)


def float32(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """The values behind bfloat16 `bits`, exactly."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def write_tensors(path: Path, tensors: Mapping[str, NDArray[Any]]) -> int:
    """Write `tensors`, sorted by name, as `path`; returns the bytes of the tensors without the header."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(tensors):
        start, end = end, end + tensors[name].nbytes
        shape, dtype = list(tensors[name].shape), NAMES[tensors[name].dtype.name]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    # Readers map the file: the tensors must begin at a multiple of eight bytes.
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            file.write(np.ascontiguousarray(tensors[name]).data)
    return end


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a file in float32, float16 or bfloat16 (as uint16 bits)."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    header.pop("__metadata__", None)
    numpy_names = {value: key for key, value in NAMES.items()}
    return {
        name: np.frombuffer(
            raw,
            numpy_names[about["dtype"]],
            offset=start + about["data_offsets"][0],
            count=int(np.prod(about["shape"])),
        ).reshape(about["shape"])
        for name, about in header.items()
    }
