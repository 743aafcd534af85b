"""What a comparison of two sets of weights reports: the published ones, and those of another conversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Part = Literal["codes", "scales", "biases", "values"]
LARGE = 4096
"""Values from which on a quantized weight is large: rounding on another device changes some of so many."""


@dataclass(frozen=True)
class TensorDifference:
    """How far one tensor differs; its name, type and shape agree."""

    name: str
    part: Part
    """`codes`, `scales` or `biases` of a quantized weight, or the `values` of anything else."""
    dtype: str
    """Of safetensors, as `BF16`; for codes their width, as `4 bits`."""
    values: int
    """How many it has."""
    differ: int
    """How many of them differ by more than the sign of a zero."""
    largest: int
    """The largest difference: in steps of a code, in ulps of a float."""
    mean: float
    """The mean difference of those that differ."""
    zeros: int = 0
    """How many are zero in both, with another sign."""
    regrouped: int = 0
    """For scales: groups that got another scale because rounding chose the code of their edge otherwise."""
    unlikely: int = 0
    """How many differ by one step, but from a code that a tie would not have rounded to."""
    far: int = 0
    """How many differ by more than rounding explains."""

    @property
    def share(self) -> float:
        """The share of its values that differ."""
        return self.differ / self.values if self.values else 0.0


@dataclass(frozen=True)
class WeightDifferences:
    """How the published weights differ from those of another conversion; files of the same digest are not read."""

    tensors: int
    """How many the other conversion has."""
    large: int
    """How many quantized weights have `LARGE` values or more, those of equal files included."""
    values: int = 0
    """How many values were compared, scales and biases left out."""
    changed: Sequence[TensorDifference] = ()
    missing: Sequence[str] = ()
    """Names that are not published."""
    extra: Sequence[str] = ()
    """The first names that are published only, or twice."""
    extra_count: int = 0
    reshaped: Mapping[str, str] = field(default_factory=dict)
    """Name -> types and shapes of both, in words."""
    unreadable: str = ""
    """Why a published file cannot be read; nothing else is known then."""

    @property
    def same_layout(self) -> bool:
        """Return whether both have the same tensors, each with its type and its shape."""
        return not (self.unreadable or self.missing or self.extra or self.reshaped)


@dataclass(frozen=True)
class Closeness:
    """How far weights that were learned on two machines are from their source: mean KL divergences on one text."""

    published: float
    rebuilt: float
    stated: float
    """By the evidence."""
    error: float
    """Standard error of its distance from the others, by the weights that were made again."""

    @property
    def is_close(self) -> bool:
        """Return whether the published ones are no farther than the evidence says, within noise of 95 %."""
        return self.published <= self.stated + 2 * self.error
