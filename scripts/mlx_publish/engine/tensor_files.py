"""Tensors where they lie in a model's files: rows of them are read without the rest.

MLX reads a tensor whole, within an evaluation, or not at all.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx

from mlx_publish.engine.placed import Placed, pieces, placed
from mlx_publish.errors import Refused

if TYPE_CHECKING:
    from mlx_publish.engine.derived import Derived

FLOATS = {"BF16": mx.bfloat16, "F16": mx.float16, "F32": mx.float32}
UNREAD = 256 << 20
"""Bytes that one evaluation reads at most. Metal ends work that waits for a disk (mlx-lm #1633)."""
_PART = 4 << 20


class TensorFiles:
    """The weight files of a folder that mlx-lm reads, each opened at its first read and closed with this object."""

    def __init__(self, folder: Path, names: str = "model*.safetensors") -> None:
        """Read the headers of files with such names; a file that has none is left to MLX, which says why."""
        every: list[Placed] = []
        for path in sorted(folder.glob(names)):
            with contextlib.suppress(Refused):
                every += placed(path.name, path)
        times = Counter(tensor.info.name for tensor in every)
        self.stored = {tensor.info.name: tensor for tensor in every if times[tensor.info.name] == 1}
        """By name; without names that several files have."""
        self.derived: dict[str, Derived] = {}
        """By name, the tensors that are computed of others, as the class of a model never sees what stands for them."""
        self._open: dict[Path, int] = {}
        self._lock = threading.Lock()

    def __del__(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)

    def _descriptor(self, path: Path) -> int:
        with self._lock:
            if path not in self._open:
                self._open[path] = os.open(path, os.O_RDONLY)
            return self._open[path]

    def read_into(self, path: Path, start: int, buffer: memoryview) -> None:
        """Fill a buffer with the bytes of a file from `start` on. `Refused` if the file ends before."""
        done, descriptor = 0, self._descriptor(path)
        while done < len(buffer):
            count = os.preadv(descriptor, [buffer[done:]], start + done)
            if count == 0:
                raise Refused(
                    "the file became shorter while it was read",
                    place=path.name,
                    remedy="Make sure that nothing writes to the source, then run the same command again.",
                )
            done += count

    def same_bytes(self, name: str, other: str) -> bool:
        """Return whether two tensors have the same type and bytes; False if one of them is not known."""
        left, right = self.stored.get(name), self.stored.get(other)
        if left is None or right is None:
            return False
        same = (left.info.dtype, left.info.nbytes) == (right.info.dtype, right.info.nbytes)
        return same and all(one == two for one, two in pieces(left, right, _PART))


def evaluate(arrays: Iterable[mx.array]) -> None:
    """Evaluate arrays that are read from files, as many at once as an evaluation may read, and at least one."""
    waiting: list[mx.array] = []
    unread = 0
    for array in arrays:
        if waiting and unread + array.nbytes > UNREAD:
            mx.eval(waiting)
            waiting, unread = [], 0
        waiting.append(array)
        unread += array.nbytes
    if waiting:
        mx.eval(waiting)
