"""What was measured at each position, as arrays in a file: of the passage they are in, and of both models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.divergence import Positions
from mlx_publish.engine.passages import Passage

Arrays = dict[str, NDArray[Any]]


def values_of(
    parts: Sequence[Passage], source: Iterator[NDArray[np.float32]], model: Iterator[NDArray[np.float32]]
) -> Arrays:
    """Compare two models over all passages, whose pieces come in the same order.

    Returns `kld`, `same`, `source` and `model` as `Positions` has them, and `passage`, the number of each position's.
    """
    kept, numbers = Positions(), []
    for number, part in enumerate(parts):
        start = 0
        while start < part.positions:
            theirs = next(source)
            kept.add(theirs, next(model), part.ids[start + 1 : start + 1 + len(theirs)])
            numbers += [number] * len(theirs)
            start += len(theirs)
    return {
        "kld": np.maximum(np.asarray(kept.kld), 0),
        "same": np.asarray(kept.same, np.bool_),
        "source": np.asarray(kept.source),
        "model": np.asarray(kept.model),
        "passage": np.asarray(numbers, np.int32),
    }


def write_values(path: Path, values: Arrays) -> None:
    """Write them whole or not at all."""
    aside = path.with_name(f".{path.name}.new")
    with aside.open("wb") as file:
        np.savez(file, **values)  # type: ignore[arg-type]
    aside.replace(path)


def read_values(path: Path) -> Arrays:
    """Read them. ValueError or OSError where it is no such file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in ("kld", "same", "source", "model", "passage")}


def clustered_error(values: NDArray[np.float64], passages: NDArray[np.generic]) -> float:
    """Return the standard error of a mean over positions, of which those of one passage hang together.

    The deviations are summed by passage, with the correction for few passages (Liang and Zeger, CR1).
    """
    _, cluster = np.unique(passages, return_inverse=True)
    sums = np.bincount(cluster, weights=values - values.mean())
    count = len(sums)
    return math.sqrt(count / (count - 1) * float(np.sum(sums**2))) / len(values) if count > 1 else 0.0
