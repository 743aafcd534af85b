"""All parameters of a source's model, each as rows: read where they lie, or computed as the class of the model does."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property

import mlx.core as mx
from mlx.utils import tree_flatten

from mlx_publish.engine.graph import Graph
from mlx_publish.engine.rows import TYPES, ComputedRows, Origin, Rows, StoredRows, origin
from mlx_publish.engine.source_model import SourceModel
from mlx_publish.engine.tensor_files import evaluate


class Parameters:
    """The parameters of a source by their paths, in the order of the model.

    It holds the source's arrays as long as something is to be computed of them.
    """

    def __init__(self, source: SourceModel) -> None:
        """Look how each parameter is made; nothing is read."""
        self._files, self._pieces = source.files, dict(source.pieces)
        self._sources = dict(source.arrays)
        self._arrays: dict[str, mx.array] = dict(tree_flatten(source.model.parameters()))
        self.paths = list(self._arrays)
        self.bytes = sum(array.nbytes for array in self._arrays.values())
        graph = self.graph_with({})
        names = {graph.key(array): name for name, array in self._sources.items()}
        self.by_key = {graph.key(array): path for path, array in self._arrays.items()}
        """Paths by the keys that every graph of `graph_with` has for them."""
        self._origins = {path: origin(graph, array, names, self._sources) for path, array in self._arrays.items()}
        self._leaves = {
            path: tuple(graph.leaves(graph.key(array), names))
            for path, array in self._arrays.items()
            if not self._readable(path)
        }
        self._uses = Counter(itertools.chain.from_iterable(self._leaves.values()))
        self._read: set[str] = set()

    def graph_with(self, arrays: Mapping[str, mx.array]) -> Graph:
        """Return the graph of the parameters and of what is made of them; the parameters have the same keys in all."""
        own = {f"source {name}": array for name, array in self._sources.items()}
        own |= {f"parameter {path}": array for path, array in self._arrays.items()}
        return Graph(own | {f"variant {name}": array for name, array in arrays.items()})

    def rows(self, path: str) -> Rows:
        """Return a parameter as rows. `Refused` if a file that it is computed of cannot be read."""
        array, from_files = self._arrays[path], self._origins[path]
        if self._readable(path) and from_files is not None:
            tensors = [self._files.stored[name] for name in from_files.names]
            return StoredRows(self._files, tensors, tuple(array.shape), array.dtype)
        self.read([path])
        mx.eval(array)
        return ComputedRows(array)

    def read(self, paths: Iterable[str]) -> None:
        """Read all that the parameters at `paths` are computed of, a bounded part at once.

        Afterwards they, and what is made of them, can be computed in one evaluation that reads nothing.
        """
        names = [name for path in paths for name in self._names(path) if name not in self._read]
        for name in dict.fromkeys(names):
            evaluate(self._pieces.pop(name, ()))
        evaluate(self._sources[name] for name in dict.fromkeys(names))
        self._read.update(names)

    def forget(self, paths: Iterable[str]) -> None:
        """Let parameters go, and what only they are computed of."""
        for path in paths:
            self._arrays.pop(path, None)
            leaves = self._leaves.pop(path, ())
            self._uses.subtract(leaves)
            for name in leaves:
                if not self._uses[name]:
                    self._sources.pop(name, None)

    def _names(self, path: str) -> tuple[str, ...]:
        from_files = self._origins.get(path)
        return self._leaves.get(path) or (from_files.names if from_files else ())

    def _readable(self, path: str) -> bool:
        """Return whether a parameter's rows lie in files as the numbers that they are."""
        from_files: Origin | None = self._origins[path]
        if from_files is None:
            return False
        return all(self._lies_there(name) for name in from_files.names)

    def _lies_there(self, name: str) -> bool:
        array, stored = self._sources[name], self._files.stored.get(name)
        if stored is None or TYPES.get(stored.dtype) != array.dtype:
            return False
        pure = name in self._pieces or self._loaded.made_by(self._loaded.key(array)).name == "Load"
        return pure and stored.is_like(tuple(array.shape), array.nbytes)

    @cached_property
    def _loaded(self) -> Graph:
        """Return the graph of the source's arrays alone."""
        return Graph(self._sources)
