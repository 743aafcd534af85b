"""A source whose bytes arrive while it is converted: what lies there, and readers that read nothing else.

Each weight file has its full size and its header from the beginning; its data comes from front to back. What has not
arrived would read as zeros, so it is read by nobody: rows are read by `ArrivingFiles`, which knows what lies there, and
MLX loads a stub of the source, which has no data at all and fails whoever evaluates an array of it.
"""

from __future__ import annotations

import bisect
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx

from mlx_publish.engine.backends import library
from mlx_publish.engine.graph import Graph
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.errors import Bug, Refused

PROVEN = "proven"


@dataclass(frozen=True)
class Stream:
    """Where parent and child tell each other how far they are, as the job names it."""

    arrived: str
    """File in which the parent writes what lies there; the shards lie in `shards` beside it."""
    journal: str
    """File in which the child writes what is done."""
    key: str
    """Digest of all that the bytes of the result follow from."""
    spill: str
    """Folder of tensors that wait for those of later shards."""
    out: str
    """Folder of the results, a folder by label in it."""
    order: Sequence[str]
    """Paths of the shards in the order in which they come."""

    def shard(self, path: str) -> Path:
        """Return where a shard lies."""
        return Path(self.arrived).parent / "shards" / path


class Arrivals:
    """What the parent says of its shards: `<bytes>\\t<path>` from the front lie there, `proven\\t<path>` are right."""

    def __init__(self, path: Path, sizes: Mapping[str, int]) -> None:
        """Begin at the first line; `sizes` are those of the shards by their paths."""
        self._path, self._sizes, self._read, self._rest = path, sizes, 0, b""
        self.bytes = dict.fromkeys(sizes, 0)
        self.proven: set[str] = set()

    def look(self) -> set[str]:
        """Read new lines; returns the shards that they speak of. `Bug` for a line that says nothing."""
        try:
            if self._path.stat().st_size <= self._read:
                return set()
            with self._path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return set()
        self._read += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return {self._take(line.decode()) for line in lines}

    def _take(self, line: str) -> str:
        word, _, path = line.partition("\t")
        if path not in self._sizes or not (word == PROVEN or word.isdecimal()):
            raise Bug(f"no arrival of a shard: {line[:200]!r}")
        if word == PROVEN:
            self.proven.add(path)
        self.bytes[path] = min(self._sizes[path], self._sizes[path] if word == PROVEN else int(word))
        return path


class ArrivingFiles(TensorFiles):
    """The weight files of a source that arrives; a tensor that has been spilled is read where it was put."""

    def __init__(self, folder: Path, stream: Stream) -> None:
        """Read the headers. `Refused` where two files have a tensor of one name."""
        super().__init__(folder)
        self.shards: dict[Path, str] = _matched(sorted(folder.glob("model*.safetensors")), stream)
        """By file its path as the parent knows it."""
        sizes = {path: stream.shard(path).stat().st_size for path in stream.order}
        self.arrivals = Arrivals(Path(stream.arrived), sizes)
        self.spilled: dict[str, tuple[Path, int]] = {}
        """File and offset of tensors by their names."""
        self.gone: set[str] = set()
        """Shards that are not read any more."""
        self._starts: dict[Path, tuple[list[int], list[str]]] = {}
        for name, tensor in sorted(self.stored.items(), key=lambda item: item[1].offset):
            if tensor.info.nbytes:
                starts, names = self._starts.setdefault(tensor.path, ([], []))
                starts.append(tensor.offset)
                names.append(name)

    def parts(self, name: str) -> set[str]:
        """Return the tensors of the files that one is, or is derived of; it may have the name of what it takes."""
        found, passed, waiting = set[str](), set[str](), [name]
        while waiting:
            now = waiting.pop()
            if now in self.derived and now not in passed:
                passed.add(now)
                waiting += self.derived[now].takes
            else:
                found.add(now)
        return found

    def shard_of(self, name: str) -> str:
        """Return the path of the shard that has a tensor of the files; empty for one that does not arrive.

        `Refused` if none has it, or several have.
        """
        tensor = self.stored.get(name)
        if tensor is None:
            raise _not_streamed(f"more than one weight file has the tensor {name[:200]}, or none by its header")
        return self.shards.get(tensor.path, "")

    def read_into(self, path: Path, start: int, buffer: memoryview) -> None:
        """Fill a buffer with bytes of a file. `Bug` if they are not there, `Refused` if the file ends before."""
        shard = self.shards.get(path, "")
        if shard not in self.gone:
            if shard and start + len(buffer) > self.arrivals.bytes[shard]:
                raise Bug(f"bytes of {shard} were to be read before they had arrived")
            super().read_into(path, start, buffer)
            return
        starts, names = self._starts[path]
        name = names[bisect.bisect_right(starts, start) - 1]
        tensor = self.stored[name]
        if name not in self.spilled or not tensor.offset <= start <= tensor.offset + tensor.info.nbytes - len(buffer):
            raise Bug(f"bytes of {shard} were to be read after they had gone")
        file, place = self.spilled[name]
        super().read_into(file, place + start - tensor.offset, buffer)

    def same_bytes(self, name: str, other: str) -> bool:
        """Never asked here: nothing says that both are there."""
        raise Bug(f"{name} and {other} were to be compared before they had arrived")

    def leave(self, shard: str) -> None:
        """Let a shard go: what is needed of it is spilled."""
        self.gone.add(shard)
        for path, of in self.shards.items():
            if of == shard:
                self.close(path)

    def close(self, path: Path) -> None:
        """Close a file that is not read any more."""
        with self._lock:
            if path in self._open:
                os.close(self._open.pop(path))


def _matched(files: Sequence[Path], stream: Stream) -> dict[Path, str]:
    """Return by file the shard that it is a link to, whatever either is called; without those that lie there whole."""
    matched, place = {}, stream.shard("").resolve()
    for file in files:
        same = [path for path in stream.order if path == file.name and stream.shard(path).samefile(file)]
        same = same or [path for path in stream.order if stream.shard(path).samefile(file)]
        if same:
            matched[file] = same[0]
        elif place in file.resolve().parents:
            raise Bug(f"{file.name} is none of the shards that arrive")
    return matched


def _not_streamed(message: str) -> Refused:
    return Refused(message, check="builds", remedy="Set `stream: false`, on a disk that holds source and result.")


class HeadersAlone:
    """A stub of a source: its headers, and files of full size only while MLX looks at them."""

    def __init__(self, files: ArrivingFiles, source: Path, folder: Path) -> None:
        """Make the stub of `source` in `folder`."""
        self.files, self.folder = files, folder
        self.arrays: dict[str, mx.array] = {}
        """What MLX loaded of it, by name; none of it is to be evaluated."""
        self._sizes: dict[Path, tuple[int, int]] = {}
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for path in sorted(source.iterdir()):
            if path in files.shards:
                with path.open("rb") as file:
                    start = file.read(8)
                    data = start + file.read(int.from_bytes(start, "little"))
                (folder / path.name).write_bytes(data)
                self._sizes[folder / path.name] = len(data), path.stat().st_size
            else:
                (folder / path.name).symlink_to(path.resolve())

    def open(self) -> None:
        """Give the files their full size, without which MLX takes them for incomplete."""
        for path, (_, size) in self._sizes.items():
            os.truncate(path, size)

    def shut(self) -> None:
        """Cut the files behind their headers: an evaluation of an array fails, as it cannot read."""
        for path, (length, _) in self._sizes.items():
            os.truncate(path, length)

    def take(self, arrays: Mapping[str, mx.array]) -> None:
        """Keep the arrays that MLX made of the stub."""
        self.arrays = dict(arrays)

    def untouched(self) -> bool:
        """Return whether all arrays are as they were loaded.

        One whose evaluation failed is taken for computed from then on, with whatever is in its memory.
        """
        graph = Graph({f"source {name}": array for name, array in self.arrays.items()})
        return all(graph.made_by(graph.key(array)).name == "Load" for array in self.arrays.values() if array.nbytes)

    def check(self) -> None:
        """Raise `Refused` where something has looked at numbers that were not there."""
        if not self.untouched():
            raise self.refused()

    def refused(self) -> Refused:
        """Return the refusal of a source whose class wants numbers that cannot be there."""
        return _not_streamed(f"{library()}'s class looks at numbers of tensors before all of them can be there")
