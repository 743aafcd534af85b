"""Rows of a weight in small floats as they lie in the files: its codes, and the scale of each of its blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.stored_numbers import rows_of
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.model.packed_weight import PackedWeight

Places = NDArray[np.intp]


@dataclass(frozen=True)
class FloatRows:
    """Rows `first` to `last` of a weight; `model/packed_fp8` and its neighbours say how it lies.

    Options: `each`: every matrix of a stack has scales of its own; `packed`: the side along which two numbers share a
    byte; `first` and `step`: which rows of a matrix, as it lies there, are the weight's.
    """

    weight: PackedWeight
    files: TensorFiles
    first: int
    last: int

    @property
    def matrix(self) -> Places:
        """Return for each row of which matrix of the stack it is."""
        return np.arange(self.first, self.last) // self.weight.shape[-2]

    @property
    def row(self) -> Places:
        """Return the place of each row within its matrix."""
        return np.arange(self.first, self.last) % self.weight.shape[-2]

    @property
    def stored(self) -> Places:
        """Return the place of each row within its matrix as it lies there."""
        return self.row * option(self.weight, "step", 1) + option(self.weight, "first", 0)

    def codes(self) -> NDArray[np.uint8]:
        """Return the bytes of the rows; two rows share theirs where they are packed along rows."""
        columns, rows = self.weight.shape[-1], stored_rows(self.weight)
        packed = self.weight.options.get("packed")
        name, part = self.weight.parts["weight"], 2 if packed == "rows" else 1
        places = self.matrix * (rows // part) + self.stored // part
        return self._picked(name, places, columns // 2 if packed == "columns" else columns).view(np.uint8)

    def scales(self) -> NDArray[Any]:
        """Return the scales of the rows as they are stored, (rows, blocks of columns)."""
        (height, width), columns = self.weight.block, self.weight.shape[-1]
        rows = -(-stored_rows(self.weight) // height) if height else 1
        places = self.matrix * rows if self.weight.options["each"] else np.zeros_like(self.matrix)
        if height:
            places = places + self.stored // height
        return self._picked(self.weight.parts["scales"], places, -(-columns // width) if width else 1)

    def _picked(self, name: str, places: Places, columns: int) -> NDArray[Any]:
        """Return rows of a tensor by their ascending places, read in one piece."""
        low, high = int(places[0]), int(places[-1]) + 1
        read = rows_of(self.files, name, low, high, columns)
        alone = high - low == len(places) and bool((np.diff(places) == 1).all())
        return read if alone else read[places - low]


def stored_rows(weight: PackedWeight) -> int:
    """Return the rows of each matrix as it lies there."""
    return int(weight.shape[-2]) * option(weight, "step", 1)


def option(weight: PackedWeight, name: str, default: int) -> int:
    """Return an option that is a number."""
    return int(weight.options.get(name, default))
