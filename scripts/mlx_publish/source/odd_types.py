"""Weight files with tensors of types that MLX does not know: 8-bit floats E5M2, and 4-bit ones, two a byte.

MLX refuses a whole file for one of them ("unsupported dtype"), and reads a file only where it lies.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from mlx_publish.model.weights import TensorInfo
from mlx_publish.text.bounds import HEADER
from mlx_publish.text.json_text import parse

_NUMBERS_A_BYTE = {"F8_E5M2": 1, "F4": 2}


def is_odd(tensors: Iterable[TensorInfo]) -> bool:
    """Return whether MLX refuses a file for one of its tensors."""
    return any(tensor.dtype in _NUMBERS_A_BYTE for tensor in tensors)


def copy_as_bytes(file: Path, target: Path) -> None:
    """Copy a weight file whose header is sound, and call such tensors bytes in the copy; the data stay."""
    shutil.copyfile(file, target)
    with target.open("r+b") as copy:
        length = int.from_bytes(copy.read(8), "little")
        header = dict(parse(copy.read(length), HEADER))
        for name, entry in header.items():
            if name != "__metadata__" and (numbers := _NUMBERS_A_BYTE.get(entry.get("dtype"))) is not None:
                entry["dtype"] = "U8"
                entry["shape"] = [*entry["shape"][:-1], entry["shape"][-1] // numbers]
        # Never longer than it was: shorter words, no spaces, and no escapes that need not be.
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        copy.seek(8)
        copy.write(text + b" " * (length - len(text)))
