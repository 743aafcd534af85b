"""Tensors that wait for those of later shards, put aside when their own shard goes.

Those of one shard lie in one file. The space of each is given back as soon as nobody needs it: by a hole in the file
where the system can make one, else with the last tensor of the file.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mlx_publish.engine.placed import Placed
from mlx_publish.engine.tensor_files import TensorFiles

Places = dict[str, tuple[str, int, int]]
"""By tensor: the name of its file, its offset there, its bytes."""
_ALIGNED = 1 << 14
"""Bytes at whose multiples tensors begin: a hole takes whole blocks of the file system."""
_AT_ONCE = 4 << 20
_PUNCH_AND_KEEP_SIZE = 3
_F_PUNCHHOLE = 99


class Spill:
    """The folder of spilled tensors."""

    def __init__(self, folder: Path, places: Mapping[str, tuple[str, int, int]]) -> None:
        """Take up what a journal names; everything else in the folder goes."""
        self._folder = folder
        self.places: Places = dict(places)
        folder.mkdir(parents=True, exist_ok=True)
        kept = {file for file, _, _ in self.places.values()}
        for path in folder.iterdir():
            if path.name not in kept:
                path.unlink()

    def path(self, name: str) -> tuple[Path, int]:
        """Return file and offset of a tensor."""
        file, offset, _ = self.places[name]
        return self._folder / file, offset

    def put(self, file: str, tensors: Sequence[Placed], source: TensorFiles) -> Places:
        """Copy tensors to a new file, down to the disk, and return their places."""
        places: Places = {}
        if not tensors:
            return places
        buffer, end = bytearray(_AT_ONCE), 0
        with (self._folder / file).open("wb") as target:
            for tensor in tensors:
                size, done = tensor.info.nbytes, 0
                target.seek(end)
                while done < size:
                    view = memoryview(buffer)[: min(_AT_ONCE, size - done)]
                    source.read_into(tensor.path, tensor.offset + done, view)
                    target.write(view)
                    done += len(view)
                places[tensor.info.name] = file, end, size
                end += -(-size // _ALIGNED) * _ALIGNED
            target.flush()
            os.ftruncate(target.fileno(), end)
            os.fsync(target.fileno())
        to_the_disk(self._folder)
        self.places.update(places)
        return places

    def drop(self, names: Iterable[str]) -> None:
        """Give the space of tensors back."""
        for name in names:
            file, offset, size = self.places.pop(name)
            path = self._folder / file
            if any(other == file for other, _, _ in self.places.values()):
                with contextlib.suppress(OSError):  # then it goes with the last
                    _punch(path, offset, -(-size // _ALIGNED) * _ALIGNED)
            else:
                path.unlink(missing_ok=True)


def to_the_disk(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _punch(path: Path, offset: int, size: int) -> None:
    """Make a hole in a file. OSError where that is not possible."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        if sys.platform == "darwin":
            import fcntl  # noqa: PLC0415  Windows has none

            fcntl.fcntl(descriptor, _F_PUNCHHOLE, struct.pack("=IIqq", 0, 0, offset, size))
            return
        library = ctypes.CDLL(None, use_errno=True)
        if not hasattr(library, "fallocate"):
            return
        place, length = ctypes.c_int64(offset), ctypes.c_int64(size)
        if library.fallocate(descriptor, _PUNCH_AND_KEEP_SIZE, place, length):
            raise OSError(ctypes.get_errno(), "no hole", str(path))
    finally:
        os.close(descriptor)
