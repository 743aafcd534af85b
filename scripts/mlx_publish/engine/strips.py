"""Columns of stored tensors, for weights whose rows lie in columns: a strip of them is read once and kept a while.

A weight is read by rows, a few at a time and by several threads; without this, each few rows would touch all of a
tensor that is packed along the input.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.stored_numbers import rows_of
from mlx_publish.engine.tensor_files import TensorFiles

STRIP = 64 << 20
"""Bytes of a tensor that are read at a time, all its rows of a range of columns."""
KEPT = 4 * STRIP
_ALIGNED = 32


class _Kept:
    """Strips of the tensors of a folder, up to KEPT bytes, the last used ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._strips: OrderedDict[tuple[str, int, int], NDArray[Any]] = OrderedDict()

    def get(self, key: tuple[str, int, int], read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        # One thread reads, and those that want the same wait for it.
        with self._lock:
            if key not in self._strips:
                self._strips[key] = read()
                while len(self._strips) > 1 and sum(strip.nbytes for strip in self._strips.values()) > KEPT:
                    self._strips.popitem(last=False)
            self._strips.move_to_end(key)
            return self._strips[key]


_OF: WeakKeyDictionary[TensorFiles, _Kept] = WeakKeyDictionary()
_LOCK = threading.Lock()


def columns_of(files: TensorFiles, name: str, rows: tuple[int, int], first: int, last: int) -> NDArray[Any]:
    """Return columns of a range of rows of a stored tensor, (rows, columns). `Refused` if the file is shorter."""
    with _LOCK:
        kept = _OF.setdefault(files, _Kept())
    stored = files.stored[name]
    width, number = stored.info.shape[-1], rows[1] - rows[0]
    size = stored.info.nbytes // max(1, stored.info.size)
    step = max(_ALIGNED, STRIP // max(1, number * size) // _ALIGNED * _ALIGNED)
    parts = []
    for strip in range(first // step, -(-last // step)):
        start, stop = strip * step, min(width, strip * step + step)
        whole = kept.get((name, rows[0], strip), lambda a=start, b=stop: _read(files, name, rows, a, b))  # type: ignore[misc]
        parts.append(whole[:, max(0, first - start) : last - start])
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _read(files: TensorFiles, name: str, rows: tuple[int, int], first: int, last: int) -> NDArray[Any]:
    stored = files.stored[name]
    width = stored.info.shape[-1]
    if (first, last) == (0, width):
        return rows_of(files, name, *rows)
    strip = np.empty((rows[1] - rows[0], last - first), rows_of(files, name, 0, 0).dtype)
    for at, row in enumerate(range(*rows)):
        start = stored.offset + (row * width + first) * strip.itemsize
        files.read_into(stored.path, start, memoryview(cast("Any", strip[at])).cast("B"))
    return strip
