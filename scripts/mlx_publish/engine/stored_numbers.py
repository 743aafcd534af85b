"""Numbers of stored tensors as numpy has them, and back: what the readers of packed weights compute with."""

from __future__ import annotations

from math import prod
from typing import Any, cast

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.rounding_formats import FORMATS
from mlx_publish.engine.tensor_files import TensorFiles

_NUMPY: dict[str, Any] = {
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,
    "I64": np.int64,
    "I32": np.int32,
    "U32": np.uint32,
    "I16": np.int16,
    "U16": np.uint16,
    "I8": np.int8,
    **dict.fromkeys(("U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), np.uint8),
}


def rows_of(files: TensorFiles, name: str, first: int, last: int) -> NDArray[Any]:
    """Return rows of a stored tensor as they lie there, (rows, columns): bfloat16 and small floats as integers.

    A tensor of one side or none is a column, so that each of its numbers is a row. `Refused` if the file is shorter.
    """
    stored = files.stored[name]
    shape = stored.info.shape if len(stored.info.shape) > 1 else (stored.info.size, 1)
    columns = shape[-1] if prod(shape) else 0
    numbers = np.empty((last - first, columns), _NUMPY[stored.info.dtype])
    start = stored.offset + first * columns * numbers.itemsize
    files.read_into(stored.path, start, memoryview(cast("Any", numbers.reshape(-1))).cast("B"))
    return numbers


def floats_of(files: TensorFiles, name: str, first: int, last: int) -> NDArray[np.float32]:
    """Return rows of a stored tensor of floats in float32, which holds them exactly."""
    return as_floats(rows_of(files, name, first, last), files.stored[name].info.dtype)


def as_floats(numbers: NDArray[Any], kind: str) -> NDArray[np.float32]:
    """Return stored floats of a kind, as `BF16`, in float32."""
    if kind == "BF16":
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(np.float32)


def bits_from(values: NDArray[np.float32], dtype: mx.Dtype) -> NDArray[Any]:
    """Return the bits of numbers in another type, rounded to nearest, ties to even; NaN and infinity stay."""
    values = np.ascontiguousarray(values, np.float32)
    bits = FORMATS[dtype].narrow(values)
    if dtype == mx.bfloat16 and (none := np.isnan(values)).any():
        bits[none] = 0x7FC0  # a carry of its rounding would make it a number
    return bits
