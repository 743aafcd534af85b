"""What users load is what was written: mlx-vlm's loader sanitizes names and arrays of a converted folder once more.

A convolution whose sides are alike would be turned twice, a head written over by the embedding, a norm shifted again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from mlx_publish.engine.backends import backend
from mlx_publish.engine.graph import Graph
from mlx_publish.engine.tensor_files import evaluate

_NAMED = 8
"""Parameters that are named."""
_LONGEST = 300
"""Characters of what the loader says."""


def otherwise(folder: Path) -> tuple[str, ...]:
    """Return what the library's own loader makes otherwise of a folder than was written, in words; empty for nothing.

    A parameter that is the very array of its file is not read; any other one is compared bit by bit.
    """
    library: Any = backend()
    try:
        written, model = library.load_again(folder)
    except Exception as error:  # noqa: BLE001  a class raises what it likes
        words = " ".join(str(error).split())[:_LONGEST]
        return (f"it cannot be loaded: {type(error).__name__}: {words}",)
    loaded = dict(tree_flatten(model.parameters()))
    differing = sorted(_differing(written, loaded))
    return tuple(differing[:_NAMED])


def _differing(written: dict[str, mx.array], loaded: dict[str, mx.array]) -> Iterator[str]:
    for name in written.keys() - loaded.keys():
        yield f"{name[:200]} is left out"
    graph = Graph({f"loaded {path}": array for path, array in loaded.items()})
    for path, array in loaded.items():
        own = written.get(path)
        if own is None:
            yield f"{path[:200]} is not in the files"
        elif own is array and graph.made_by(graph.key(array)).name == "Load":
            continue
        elif own.shape != array.shape or own.dtype != array.dtype:
            yield f"{path[:200]} becomes {array.dtype} {list(array.shape)} of {own.dtype} {list(own.shape)}"
        elif not _same(own, array):
            yield f"{path[:200]} has other numbers"


def _same(own: mx.array, other: mx.array) -> bool:
    evaluate([own, other])
    return bool(mx.array_equal(own, other, equal_nan=True).item())
