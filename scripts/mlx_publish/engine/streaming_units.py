"""The units of a streamed conversion: what is made as soon as certain tensors are there, whatever else is missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_publish.engine.backends import library
from mlx_publish.engine.convert import Output
from mlx_publish.engine.derived import DerivedRows
from mlx_publish.engine.in_place import apart
from mlx_publish.engine.parameters import Parameters
from mlx_publish.engine.rows import StoredRows, count
from mlx_publish.engine.source_model import SourceModel
from mlx_publish.engine.streaming_arrivals import ArrivingFiles, HeadersAlone
from mlx_publish.errors import Refused

_INTEGERS = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32, 8: mx.uint64}
_PAIR = 32
"""Numbers in two groups of nvfp4, which MLX takes in pairs only."""


@dataclass(frozen=True)
class Stored:
    """Rows of a parameter that lie in the source as they are: all of them, or one of several stacked tensors.

    `tensors` are, as in all units, those of the files.
    """

    tensors: tuple[str, ...]
    path: str
    first: int
    """The first of its rows."""
    count: int
    """Rows of the whole parameter."""
    rows: StoredRows | DerivedRows


@dataclass(frozen=True)
class Computed:
    """Parameters that the class of the model computes of the same tensors."""

    tensors: tuple[str, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Whole:
    """A module of a variant that is made as the library does it, because it is not known by rows."""

    tensors: tuple[str, ...]
    label: str
    module: str
    paths: tuple[str, ...]
    """The source's parameters that it is made of."""


@dataclass(frozen=True)
class Head:
    """A head that may go if it is the embedding."""

    tensors: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class Proof:
    """A quantized weight of the source that two readers are to read alike."""

    tensors: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class Idle:
    """A bias for which the class has no parameter, and which has to be zeros."""

    tensors: tuple[str, ...]
    name: str


Unit = Stored | Computed | Whole | Head | Proof | Idle


class StreamedParameters(Parameters):
    """The parameters of a source that arrives. Nothing is evaluated but what is made of tensors in memory."""

    def __init__(self, source: SourceModel, stub: HeadersAlone) -> None:
        """Look how each parameter is made; nothing is read."""
        super().__init__(source)
        self._arriving, self._raw = stub.files, stub.arrays

    @property
    def files(self) -> ArrivingFiles:
        """Return what reads the source."""
        return self._arriving

    def tensors_of(self, path: str) -> set[str]:
        """Return the names of the tensors of the files that a parameter is, or is computed of."""
        return self._parts(self._stored.get(path) or self._leaves[path])

    def _parts(self, names: Iterable[str]) -> set[str]:
        return {part for name in names for part in self._arriving.parts(name)}

    def units_of(self, paths_at_once: Collection[str]) -> Iterator[Stored | Computed]:
        """Yield the units of all parameters; those `paths_at_once` are not taken apart."""
        computed: dict[frozenset[str], list[str]] = {}
        for path in self.paths:
            if path in self._stored:
                yield from self._stored_units(path, at_once=path in paths_at_once)
            else:
                computed.setdefault(frozenset(self._leaves[path]), []).append(path)
        for leaves, paths in computed.items():
            yield Computed(tuple(sorted(self._parts(leaves))), tuple(paths))

    def _stored_units(self, path: str, *, at_once: bool) -> Iterator[Stored]:
        names, array = self._stored[path], self._arrays[path]
        shape = tuple(array.shape)
        number = count(shape)[0]
        each = shape[1:] if len(names) > 1 else shape
        if at_once or len(names) == 1 or array.size // len(names) % _PAIR:
            rows = self._rows_of(names, shape, array.dtype)
            yield Stored(tuple(sorted(self._parts(names))), path, 0, number, rows)
            return
        for place, name in enumerate(names):
            rows = self._rows_of((name,), each, array.dtype)
            yield Stored(tuple(sorted(self._parts([name]))), path, place * (number // len(names)), number, rows)

    def computed(self, paths: Sequence[str]) -> Mapping[str, mx.array]:
        """Return parameters, lazily, of tensors that are in memory. `Refused` if they differ from what was planned."""
        leaves = {name: self.whole(name) for path in paths for name in self._leaves.get(path, ())}
        if not leaves:  # the class makes them of nothing
            return {path: self._arrays[path] for path in paths}
        made = self._sanitized(apart(self._sources) | leaves)
        for path in paths:
            planned = self._arrays[path]
            if path not in made or (made[path].shape, made[path].dtype) != (planned.shape, planned.dtype):
                raise Refused(
                    f"{library()}'s class makes {path[:200]} otherwise where its tensors are in memory",
                    check="builds",
                    remedy="Set `stream: false`, on a disk that holds source and result.",
                )
        return {path: made[path] for path in paths}

    def in_memory(self, paths: Sequence[str]) -> dict[str, mx.array]:
        """Return parameters in memory."""
        stored = [path for path in paths if path in self._stored]
        arrays = dict(self.computed([path for path in paths if path not in self._stored]))
        mx.eval(arrays)
        for path in stored:
            planned = self._arrays[path]
            arrays[path] = self._rows_of(self._stored[path], tuple(planned.shape), planned.dtype).whole()
        return arrays

    def whole(self, name: str) -> mx.array:
        """Return a tensor of the source in memory, read without an evaluation, in the type that MLX gives it."""
        if name in self._arriving.derived:
            shape, dtype = self._like[name]
            return self._rows_of((name,), shape, dtype).whole()
        return self.as_stored(name)

    def as_stored(self, name: str) -> mx.array:
        """Return a tensor of the files in memory, as `whole` does."""
        tensor, like = self._arriving.stored[name], self._raw[name]
        shape, dtype = tuple(like.shape), like.dtype
        integers = mx.zeros(shape, _INTEGERS[dtype.size])
        if integers.nbytes != tensor.info.nbytes:
            raise Refused(f"MLX reads {name[:200]} with another size than its header says", check="builds")
        if not integers.nbytes:
            return mx.zeros(shape, dtype)
        mx.eval(integers)
        memory: Any = np.array(integers, copy=False).reshape(-1)  # MLX's own
        self._arriving.read_into(tensor.path, tensor.offset, memoryview(memory).cast("B"))
        return mx.view(integers, dtype) if dtype != integers.dtype else integers

    def is_stored(self, name: str) -> bool:
        """Return whether a tensor of the source has numbers that are read as they lie."""
        return self._lies_there(name)

    def stored_rows(self, name: str) -> StoredRows | DerivedRows:
        """Return the rows of such a tensor."""
        return self._rows_of((name,), *self._like[name])


def wholes(parameters: StreamedParameters, outputs: Sequence[Output]) -> Iterator[Whole]:
    """Yield the modules of variants that are not known by rows."""
    for output in outputs:
        for module in output.whole:
            paths = tuple(output.made_of.get(module, ()))
            tensors = {name for path in paths for name in parameters.tensors_of(path)}
            yield Whole(tuple(sorted(tensors)), output.label, module, paths)
