"""Whether the MLX class of a base has the parameters that an adapter of mlx-lm changes; no weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlx.utils import tree_flatten

from mlx_publish.engine.adapted_source import unfit
from mlx_publish.engine.backends import backend
from mlx_publish.engine.source_model import going_on
from mlx_publish.evidence.records import from_json
from mlx_publish.model.adapted import Fusing
from mlx_publish.text.progress import Tell


@dataclass(frozen=True)
class Fit:
    """Why an adapter does not fit; empty if it does."""

    fault: str


def adapter(config: dict[str, Any], fusing: Mapping[str, object], progress: Tell) -> Fit:
    """Compare names and shapes of an adapter with a fresh model, of which nothing is computed."""
    progress("comparing the adapter with the MLX class of its base")
    with going_on():
        model_class, args_class = backend().classes(config)
        model = model_class(args_class.from_dict(config))
    parameters, modules = dict(tree_flatten(model.parameters())), dict(model.named_modules())
    for change in from_json(Fusing, fusing).changes:
        if why := unfit(change, parameters.get(change.name), modules.get(change.name.rpartition(".")[0])):
            return Fit(f"{change.name[:200]}: {why}")
    return Fit("")
