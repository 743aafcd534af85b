"""Small floats and their writers for tests, by other ways than the kit's: through float16 and float32 of numpy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0)
Raw = tuple[str, tuple[int, ...], bytes]
"""Name of the type, shape and bytes of a tensor as a file has it."""


def e5m2(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The upper half of a float16."""
    return (codes.astype(np.uint16) << 8).view(np.float16).astype(np.float64)


def e4m3(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """One bit of exponent less than float16, and a bias of 7 in place of 15; NaN where all bits are set."""
    wide = codes.astype(np.uint16)
    half = (((wide & 0x80) << 8) | ((wide & 0x7F) << 7)).view(np.float16).astype(np.float64) * 256
    return np.where(wide & 0x7F == 0x7F, np.nan, half)


def e8m0(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A power of two with the bias of float32; 255 is NaN."""
    return np.where(codes == 255, np.nan, 2.0 ** (codes.astype(np.float64) - 127))


def e2m1(codes: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Codes of 0 to 15."""
    return np.array(E2M1)[codes]


def packed(codes: NDArray[np.uint8], axis: int = -1) -> NDArray[np.uint8]:
    """Two codes in a byte along an axis, the first in the lower half."""
    turned = np.moveaxis(codes, axis, -1)
    return np.ascontiguousarray(np.moveaxis(turned[..., 0::2] | turned[..., 1::2] << 4, -1, axis))


def raw(dtype: str, array: NDArray[Any]) -> Raw:
    """An array as a tensor of a type."""
    return dtype, array.shape, np.ascontiguousarray(array).tobytes()


def write_raw(path: Path, tensors: Mapping[str, Raw]) -> None:
    """Write tensors of any types in their order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values()))


@dataclass(frozen=True)
class Written:
    """A quantized source: what its config says, its tensors, and the weights that they stand for."""

    block: dict[str, object]
    tensors: dict[str, Raw]
    weights: dict[str, NDArray[np.float64]]
    """By the names of an unquantized model; products and quotients of float64, rounded by nobody yet."""
    side: dict[str, dict[str, object]] = field(default_factory=dict)
