"""Arrays that a class of mlx-lm changes in place: `array *= 2` gives the same Python object another array.

Whoever else holds that object would get the product, and twice of it where the class is asked again: mlx_lm's Falcon-H1
multiplies its weights so.
"""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx

from mlx_publish.engine.graph import Graph


def apart(arrays: Mapping[str, mx.array]) -> dict[str, mx.array]:
    """Return objects of their own for the same arrays, lazily: what is done to them changes no others."""
    return {name: array[...] for name, array in arrays.items()}


def changed(own: Mapping[str, mx.array], given: Mapping[str, mx.array]) -> list[str]:
    """Return the names of `given` objects that are no longer the arrays that `own`, taken of them before, are."""
    graph = Graph({word + name: of[name] for name in own for word, of in (("own ", own), ("given ", given))})
    # Of two objects for one array only the first has an operation there.
    return [name for name in own if graph.made_by(graph.key(given[name])).name]
