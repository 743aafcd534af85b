"""A source that is a base with an adapter, as the engine reads it.

An adapter of PEFT changes tensors of the base, before the class of the model sees them. One of mlx-lm changes
parameters of the class, after it has made them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import mlx.core as mx
from mlx import nn

from mlx_publish.engine.adapting import Factors, FusedWeight
from mlx_publish.engine.derived import Derived
from mlx_publish.engine.tensor_files import FLOATS
from mlx_publish.errors import Refused
from mlx_publish.evidence.records import from_json
from mlx_publish.model.adapted import ADAPTED_FILE, FACTORS_FILE, Adapted, Fusing
from mlx_publish.text.files import read_json


@dataclass
class AdaptedSource:
    """What an adapter makes of its base."""

    fusing: Fusing
    factors: Factors
    weights: dict[str, FusedWeight] = field(default_factory=dict)
    """Fused tensors of the base, by name."""
    of_parameters: dict[str, FusedWeight] = field(default_factory=dict)
    """Fused parameters of the class, by path."""
    before: dict[str, mx.array] = field(default_factory=dict)
    """What the class makes of the base alone, by path; lazily."""

    @classmethod
    def beside(cls, folder: Path) -> AdaptedSource | None:
        """Return what lies beside the links of a source; None where that is no adapter."""
        content = read_json(folder / ADAPTED_FILE)
        if content is None:
            return None
        return cls(from_json(Fusing, content), Factors(folder / FACTORS_FILE))

    @property
    def of_class(self) -> bool:
        """Return whether parameters of the class are changed."""
        return self.fusing.maker == "mlx-lm"

    def derived_of(self, packed: Mapping[str, Derived]) -> Mapping[str, Derived]:
        """Return the fused tensors of the base, of which `packed` are derived already."""
        if not self.of_class:
            for change in self.fusing.changes:
                base = packed.get(change.base or "")
                self.weights[change.name] = FusedWeight(change, FLOATS[change.dtype], self.factors, base)
        return self.weights

    def fused(self, arrays: Mapping[str, mx.array]) -> dict[str, mx.array]:
        """Return a base's arrays, as they are once they are read, with fused ones in their places, lazily."""
        made = {name: weight.over(arrays.get(weight.change.base or "")) for name, weight in self.weights.items()}
        return {**arrays, **made}

    def made(self, arrays: dict[str, mx.array], model: nn.Module) -> dict[str, mx.array]:
        """Return parameters with fused ones in their places, lazily. `Refused` naming one that the class has not."""
        if not self.of_class:
            return arrays
        modules = dict(model.named_modules())
        for change in self.fusing.changes:
            before = arrays.get(change.name)
            if (why := unfit(change, before, modules.get(change.name.rpartition(".")[0]))) or before is None:
                raise Refused(
                    why,
                    check="adapter-placed",
                    place=change.name[:200],
                    remedy="Set `source` to the model that the adapter was trained on.",
                )
            weight = FusedWeight(replace(change, shape=tuple(before.shape)), before.dtype, self.factors)
            if self.of_parameters.setdefault(change.name, weight) is weight:
                self.before[change.name] = before
            arrays[change.name] = weight.over(before)
        return arrays


def unfit(change: Adapted, before: mx.array | None, module: object) -> str:
    """Say why a parameter of the class cannot be what an adapter of mlx-lm changes; empty if it can."""
    if before is None:
        return "the adapter changes this parameter, and the MLX model of the base has none of this name"
    if tuple(before.shape) != tuple(change.shape):
        return f"the adapter has the shape {list(change.shape)}, and the parameter {list(before.shape)}"
    if before.dtype not in (mx.float32, mx.float16, mx.bfloat16):
        return f"the adapter changes this parameter, which is stored as {str(before.dtype).rpartition('.')[2]}"
    of_rows = len(change.shape) == 2 and any(not update.left.turned for update in change.updates)
    if change.updates and of_rows != isinstance(module, nn.Embedding):
        taken, is_one = ("an embedding", "none") if of_rows else ("a matrix", "an embedding")
        return f"the adapter takes this parameter for {taken}, and it is {is_one}"
    return ""
