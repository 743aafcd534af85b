"""Tensors of which a parameter is made by moving axes alone, as PyTorch's convolutions become MLX's.

Nothing is read and nothing can be rounded: the graph of MLX names the operations.
"""

from __future__ import annotations

from collections.abc import Collection

import mlx.core as mx
from mlx.utils import tree_flatten

from mlx_publish.engine.graph import Graph
from mlx_publish.engine.source_model import SourceModel

_MOVES = frozenset({"Transpose", "Copy", "Contiguous"})
"""What gives the same numbers in another order."""


def reordered(source: SourceModel, names: Collection[str]) -> set[str]:
    """Return those of the source's tensors that became a parameter by an exchange of axes."""
    own = {name: source.arrays[name] for name in names if name in source.arrays}
    parameters = dict(tree_flatten(source.model.parameters()))
    graph = Graph(
        {f"source {name}": array for name, array in own.items()}
        | {f"parameter {path}": array for path, array in parameters.items()}
    )
    keys = {graph.key(array): name for name, array in own.items()}
    found: set[str] = set()
    for array in parameters.values():
        key = graph.key(array)
        while key not in keys and graph.made_by(key).name in _MOVES and len(graph.made_by(key).takes) == 1:
            key = graph.made_by(key).takes[0]
        if key in keys and _same_sides(own[keys[key]], array):
            found.add(keys[key])
    return found


def _same_sides(one: mx.array, other: mx.array) -> bool:
    return one.dtype == other.dtype and sorted(one.shape) == sorted(other.shape)
