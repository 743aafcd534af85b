"""One weight of a source that is held quantized, and what a reader of a form finds of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class PackedWeight:
    """A weight by the tensors that stand for it."""

    name: str
    """That the weight has in an unquantized model, as `model.layers.0.self_attn.q_proj.weight`."""
    form: str
    """The key of what reads it, in `engine/unpacking.py`."""
    shape: Sequence[int]
    """Of the weight: (rows, columns), or (experts, rows, columns)."""
    parts: Mapping[str, str]
    """Names of its tensors by what they are: `weight`, `scales`, `zeros`, `global_scale`, ..."""
    bits: float
    """That one number takes, without scales."""
    block: Sequence[int]
    """Rows and columns that share a scale; 0 stands for all of them."""
    options: Mapping[str, int | float | str | bool] = field(default_factory=dict)
    """What else its form has to know, as how integers are packed."""


@dataclass(frozen=True)
class Found:
    """What the reader of a form finds among the tensors of a source."""

    weights: tuple[PackedWeight, ...] = ()
    beside: Mapping[str, str] = field(default_factory=dict)
    """Tensors that stand for no weight, by name, with the reason for which they are left out."""

    def joined(self, other: Found) -> Found:
        """Return both; a weight that an earlier form has found stays with it."""
        names = {weight.name for weight in self.weights}
        more = tuple(weight for weight in other.weights if weight.name not in names)
        return Found(self.weights + more, {**other.beside, **self.beside})
