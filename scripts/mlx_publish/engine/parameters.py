"""All parameters of a source's model, each as rows: read where they lie, or computed as the class of the model does."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_map, tree_unflatten

from mlx_publish.engine import tensor_files
from mlx_publish.engine.adapting import FusedRows
from mlx_publish.engine.derived import DerivedRows
from mlx_publish.engine.graph import Graph
from mlx_publish.engine.in_place import apart
from mlx_publish.engine.rows import ComputedRows, StoredRows, origin
from mlx_publish.engine.source_model import SourceModel
from mlx_publish.engine.tensor_files import FLOATS, evaluate


class Parameters:
    """The parameters of a source by their paths, in the order of the model.

    It holds the source's arrays as long as something is to be computed of them.
    """

    def __init__(self, source: SourceModel) -> None:
        """Look how each parameter is made; nothing is read."""
        self._files, self._sanitized = source.files, source.sanitized
        self._sources = dict(source.arrays)
        self._like = {name: (tuple(array.shape), array.dtype) for name, array in self._sources.items()}
        self._arrays: dict[str, mx.array] = dict(tree_flatten(source.model.parameters()))
        self.paths = list(self._arrays)
        self.bytes = sum(array.nbytes for array in self._arrays.values())
        self._fused = source.adapted.of_parameters if source.adapted else {}
        """Parameters that an adapter changes as the class makes them: their rows are computed of those before."""
        before = source.adapted.before if source.adapted else {}
        graph = Graph(
            {f"source {name}": array for name, array in self._sources.items()}
            | self._named()
            | {f"before {path}": array for path, array in before.items()}
        )
        names = {graph.key(array): name for name, array in self._sources.items()}
        # Names alone: a graph holds its arrays, and what was computed of one would stay in memory with it.
        self._loaded = {name for key, name in names.items() if graph.made_by(key).name == "Load"}
        origins = {
            path: origin(graph, before.get(path, array), names, self._sources) for path, array in self._arrays.items()
        }
        self._stored = {path: of for path, of in origins.items() if of is not None and self._has_rows(of)}
        """Names of the tensors whose rows, one behind the other, are those of a parameter."""
        self._leaves = {
            path: tuple(graph.leaves(graph.key(array), names))
            for path, array in self._arrays.items()
            if path not in self._stored
        }
        """Names of the tensors that a parameter is computed of."""
        self._uses = Counter(itertools.chain.from_iterable(self._leaves.values()))
        self._whole: dict[str, mx.array] = {}
        """Large tensors that were read because something is computed of them."""

    def graph_with(self, arrays: Mapping[str, mx.array]) -> Graph:
        """Return the graph of what is made of the parameters, whose paths are its `source`."""
        graph = Graph(self._named() | {f"variant {name}": array for name, array in arrays.items()})
        graph.source = {graph.key(array): path for path, array in self._arrays.items()}
        return graph

    def _named(self) -> dict[str, mx.array]:
        return {f"parameter {path}": array for path, array in self._arrays.items()}

    @property
    def arrays(self) -> Mapping[str, mx.array]:
        """Return the parameters that are not forgotten yet, lazily, by their paths."""
        return self._arrays

    def rows(self, path: str) -> StoredRows | DerivedRows | FusedRows | ComputedRows:
        """Return a parameter as rows. `Refused` if a file that it is computed of cannot be read."""
        array = self._arrays[path]
        if names := self._stored.get(path):
            rows = self._rows_of(names, tuple(array.shape), array.dtype)
            return FusedRows(self._fused[path], rows) if path in self._fused else rows
        self.read([path])
        array = self._arrays[path]
        mx.eval(array)
        return ComputedRows(array)

    def derived(self, path: str) -> DerivedRows | None:
        """Return a parameter that is derived tensors one behind the other; None for any other."""
        rows = self.rows(path) if path in self._stored else None
        return rows if isinstance(rows, DerivedRows) else None

    def array(self, path: str) -> mx.array:
        """Return a parameter whole, in memory."""
        rows = self.rows(path)
        return rows.array if isinstance(rows, ComputedRows) else rows.whole()

    def read(self, paths: Iterable[str]) -> None:
        """Read all that parameters are computed of, a bounded part at once, and nothing more is read afterwards."""
        for path in paths:
            names = self._leaves.get(path) or self._stored.get(path, ())
            large = [name for name in names if self._is_large(name)]
            evaluate(self._sources[name] for name in names if name not in large)
            if large and path in self._leaves:
                self._made_of_whole(path, large)

    def forget(self, paths: Iterable[str]) -> None:
        """Let parameters go, and what only they are computed of."""
        for path in paths:
            self._arrays.pop(path, None)
            leaves = self._leaves.pop(path, ())
            self._uses.subtract(leaves)
            for name in leaves:
                if not self._uses[name]:
                    self._sources.pop(name, None)
                    self._whole.pop(name, None)

    def _made_of_whole(self, path: str, large: Iterable[str]) -> None:
        """Let the class make a parameter anew, of tensors that are in memory; of all others it sees the shapes."""
        for name in large:
            if name not in self._whole:
                shape, dtype = self._like[name]
                self._whole[name] = self._rows_of((name,), shape, dtype).whole()
        shapes = {name: mx.zeros(shape, dtype) for name, (shape, dtype) in self._like.items()}
        own = {name: self._whole.get(name, self._sources[name]) for name in self._leaves[path]}
        made = self._sanitized(shapes | apart(own))[path]
        if made.shape == self._arrays[path].shape and made.dtype == self._arrays[path].dtype:
            self._arrays[path] = made

    def _is_large(self, name: str) -> bool:
        return self._sources[name].nbytes > tensor_files.UNREAD and self._lies_there(name)

    def _rows_of(self, names: Sequence[str], shape: tuple[int, ...], dtype: mx.Dtype) -> StoredRows | DerivedRows:
        """Return tensors one behind the other; `_has_rows` says of which that is possible."""
        if names[0] in self._files.derived:
            return DerivedRows(self._files, [self._files.derived[name] for name in names], shape, dtype)
        return StoredRows(self._files, [self._files.stored[name] for name in names], shape, dtype)

    def _has_rows(self, names: Sequence[str]) -> bool:
        """Return whether tensors can be read by rows, all of them in one way."""
        derived = {name in self._files.derived for name in names}
        return len(derived) == 1 and all(self._lies_there(name) for name in names)

    def _lies_there(self, name: str) -> bool:
        """Return whether a tensor is what its file holds under its name, in a type whose bits are read as they are.

        A derived one is no less: its rows are computed of what lies there.
        """
        if name in self._files.derived:
            return bool(self._sources[name].shape)
        array, stored = self._sources[name], self._files.stored.get(name)
        if stored is None or (kept := FLOATS.get(stored.info.dtype)) is None or kept != array.dtype:
            return False
        return name in self._loaded and bool(array.shape) and stored.info.shape == tuple(array.shape)


def in_memory(source: SourceModel) -> nn.Module:
    """Return the model of a source with all parameters in memory, read a bounded part at once; the source is let go."""
    parameters, model = Parameters(source), source.model
    model.update(tree_map(lambda _: mx.array(0), model.parameters()))
    source.release()
    for path in parameters.paths:
        model.update(tree_unflatten([(path, parameters.array(path))]))
        parameters.forget([path])
    return model
