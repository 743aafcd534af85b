"""What is looked at of single parameters while they pass, because nobody can read them again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_publish.engine.accounting import heads_to_compare
from mlx_publish.engine.casting import distinct, merged
from mlx_publish.engine.making import cpu_stream
from mlx_publish.engine.norms import Norm, kind_of, kinds_of, measured, shifted
from mlx_publish.engine.rows import Rows, bits_of, count
from mlx_publish.engine.source_model import SourceModel
from mlx_publish.evidence.conversion import NormKinds, Routing
from mlx_publish.model.config import ModelConfig

_STEP = 1 << 20
"""Numbers that are compared at once."""


class Notes:
    """What to look at, by parameter, and what follows when everything has passed."""

    def __init__(self, source: SourceModel, config: ModelConfig, rounded: Mapping[str, Mapping[str, mx.Dtype]]) -> None:
        """Find the parameters that count; `rounded` are router biases and their new types by variant."""
        self._rounded = rounded
        self._norms = list(shifted(source.model))
        self.heads = heads_to_compare(source, config)
        """Heads of the source that may go if they are the embedding, with its path."""
        self.taken: dict[str, Any] = {}
        """All notes so far, those of others too."""

    @property
    def paths(self) -> set[str]:
        """Return the parameters that are looked at."""
        biases = {path for by_path in self._rounded.values() for path in by_path}
        return biases | {f"{path}.weight" if path else "weight" for path in self._norms} | set(self.heads.values())

    def of(self, path: str, rows: Rows) -> dict[str, Any]:
        """Look at a parameter; returns plain data."""
        notes: dict[str, Any] = {}
        if path in self.heads.values():
            notes[f"embedding {path}"] = digest(rows)
        with mx.stream(cpu_stream()):
            module = path.rpartition(".")[0]
            if module in self._norms and path == f"{module}.weight":
                norm = measured(module, array_of(rows))
                notes[f"norm {module}"] = [norm.mean, norm.below_zero, norm.below_one]
            for label, by_path in self._rounded.items():
                if path in by_path:
                    notes[f"bias {label} {path}"] = distinct(array_of(rows), by_path[path])
        return notes

    def take(self, notes: dict[str, Any]) -> None:
        """Keep what `of` returned, or a journal has of it."""
        self.taken.update(notes)

    def norms(self) -> NormKinds:
        """Return the kinds of norms that show another convention than their class."""
        return kinds_of([Norm(kind_of(module), *self.taken[f"norm {module}"]) for module in self._norms])

    def routing(self, label: str, planned: Routing) -> Routing:
        """Return what became of the router biases of a variant."""
        by_path = self._rounded.get(label)
        if not by_path:
            return planned
        counts = {path: self.taken[f"bias {label} {path}"] for path in by_path}
        return merged({path: (int(pair[0]), int(pair[1])) for path, pair in counts.items()})

    def tied(self, name: str, _source: object = None) -> bool:
        """Return whether a head is the embedding."""
        if name not in self.heads:
            return False
        return bool(self.taken[f"head {name}"] == self.taken[f"embedding {self.heads[name]}"])


def array_of(rows: Rows) -> mx.array:
    """Return all rows as an array."""
    bits = rows.read(0, count(rows.shape)[0])
    array = mx.array(bits)
    return (array.view(rows.dtype) if array.dtype != rows.dtype else array).reshape(rows.shape)


def digest(rows: Rows) -> str:
    """Return a digest of the numbers in rows, the same for all types of floats that hold them."""
    found = hashlib.sha256(str(tuple(rows.shape)).encode())
    number, columns = count(rows.shape)
    step = max(1, _STEP // max(1, columns))
    floating = mx.issubdtype(rows.dtype, mx.floating)
    if not floating:
        found.update(str(rows.dtype).encode())
    with mx.stream(cpu_stream()):
        for first in range(0, number, step):
            bits = rows.read(first, min(number, first + step))
            if floating:
                array = mx.array(bits)
                values = (array.view(rows.dtype) if array.dtype != rows.dtype else array).astype(mx.float32)
                bits = bits_of(values) + np.float32(0)  # of the two zeros one
            found.update(np.ascontiguousarray(bits).data)
    return found.hexdigest()
