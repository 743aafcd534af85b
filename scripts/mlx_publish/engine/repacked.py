"""What a repacked weight of a source is: rows that are MLX's own form already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from mlx_publish.engine.rows import Bits, count
from mlx_publish.engine.tensor_files import TensorFiles


class RepackedPart(NamedTuple):
    """Some rows in MLX's form."""

    parts: Sequence[Bits]
    """Codes (rows, words) uint32; scales, uint8 or the integers of the result's type; biases likewise."""
    rounded: int = 0
    """Groups whose scale or bias is not exact in the result's type."""
    off: float = 0.0
    """Of all weights the largest distance from the source's exact value, in steps of its group."""
    groups: int = 0
    """How many groups there were, once the parts are gone."""

    def without_parts(self) -> RepackedPart:
        """Return what is told of the rows."""
        return self._replace(parts=(), groups=self.parts[1].size)


class Repack(Protocol):
    """A weight that can be repacked."""

    @property
    def name(self) -> str:
        """Return the name of the weight."""

    def read(self, files: TensorFiles, first: int, last: int) -> RepackedPart:
        """Return rows of the weight; all its sides but the last are rows. It is called by several threads."""


@dataclass(eq=False)
class RepackedRows:
    """Rows of weights of one shape that lie one behind the other in a parameter."""

    files: TensorFiles
    repacks: Sequence[Repack]
    shape: tuple[int, ...]
    """Of the parameter."""
    told: list[RepackedPart] = field(default_factory=list)
    """What was read, without its parts."""

    def read(self, first: int, last: int) -> list[Bits]:
        """Return rows in MLX's form, a part each for codes, scales and biases. `Refused` if a file is shorter."""
        each, at, made = count(self.shape)[0] // len(self.repacks), first, list[RepackedPart]()
        while at < last:
            number, start = divmod(at, each)
            stop = min(each, start + last - at)
            made.append(self.repacks[number].read(self.files, start, stop))
            at += stop - start
        self.told += [one.without_parts() for one in made]
        return [np.concatenate(parts) for parts in zip(*(one.parts for one in made), strict=True)]
