"""The source as mlx-lm builds it, with a record of what became of every tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten
from mlx_lm.utils import _get_classes, load_model

from mlx_publish.engine.ending import going_on
from mlx_publish.errors import Refused

_LONGEST = 400
# What a class of mlx-lm raises for a config that it was not written for: it divides, asserts and looks up.
_UNBUILDABLE = (
    ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, FileNotFoundError,
)  # fmt: skip


@dataclass
class Record:
    """Names, sizes and identities of tensors before and after the architecture's own renaming.

    Sizes are numbers of elements.
    """

    before: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of the source: name -> (id of the array, size)."""
    after: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of the MLX model."""

    def dropped(self) -> tuple[dict[str, int], int]:
        """Return source tensors that did not arrive as they are, and how many elements arrived in new arrays.

        Where the second equals the sum of the first, all of them were fused, split or reshaped, and none is lost.
        """
        arrived = {identity for identity, _ in self.after.values()}
        known = {identity for identity, _ in self.before.values()}
        lost = {name: size for name, (identity, size) in self.before.items() if identity not in arrived}
        made = sum(size for identity, size in self.after.values() if identity not in known)
        return lost, made


@dataclass
class SourceModel:
    """The model on lazily read weights, its config, and the ways to build it again on the same arrays."""

    model: nn.Module
    config: dict[str, Any]
    record: Record
    build: Callable[[], nn.Module]
    kept: dict[str, mx.array] = field(default_factory=dict)
    """Source arrays that did not arrive: a tied head may have to be compared with the embedding."""


def load_source(folder: Path) -> SourceModel:
    """Load `folder` lazily, without running any of its code.

    Raises `Refused` where mlx-lm cannot build it or its weights do not fit the architecture.
    """
    record, kept, built = Record(), dict[str, mx.array](), list[Any]()

    def classes(config: dict[str, Any]) -> tuple[Any, Any]:
        model_class, args_class = _get_classes(config)

        class Recorded(model_class):  # type: ignore[misc, valid-type]
            def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
                before = dict(weights)
                after = super().sanitize(weights) if hasattr(model_class, "sanitize") else weights
                record.before = {name: (id(array), array.size) for name, array in before.items()}
                record.after = {name: (id(array), array.size) for name, array in after.items()}
                there = {id(array) for array in after.values()}
                kept.update({name: array for name, array in before.items() if id(array) not in there})
                return dict(after)

        built.append((model_class, args_class))
        return Recorded, args_class

    try:
        with going_on():
            model, config = load_model(folder, lazy=True, get_model_classes=classes)
    except _UNBUILDABLE as error:
        # MLX names the tensors in question on the lines that follow its first one.
        said = " ".join(str(error).split()) or type(error).__name__
        raise Refused(
            f"mlx-lm cannot build the model: {said if len(said) <= _LONGEST else said[:_LONGEST] + ' ...'}",
            check="builds",
            remedy="Compare config.json with the weights; a newer mlx-lm may know the architecture better.",
        ) from error  # fmt: skip
    model_class, args_class = built[0]

    def build() -> nn.Module:
        fresh: nn.Module = model_class(args_class.from_dict(config))
        fresh.eval()
        fresh.load_weights(tree_flatten(model.parameters()), strict=True)
        return fresh

    return SourceModel(model, config, record, build, kept)
