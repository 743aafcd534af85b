"""quantization-plan.yaml beside a config.json: a plan, and the one that the weights were made by."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from mlx_publish.errors import Fault, in_file
from mlx_publish.evidence.quantization import PLAN_FILE
from mlx_publish.hooks.model_folder import ModelFolder
from mlx_publish.hub.manifest import plan_fault
from mlx_publish.model.draft import MODEL
from mlx_publish.model.names import shown
from mlx_publish.model.planned import plan_differences
from mlx_publish.model.weights import is_pointer

_AS_MADE = "Restore the files that the conversion wrote, or convert again."
_MOST = 20  # modules that are named


def plan(model: ModelFolder) -> Iterator[Fault]:
    """Yield what is wrong with the plan of a model; nothing where there is none, or where git-lfs has it."""
    path = model.folder / PLAN_FILE
    if PLAN_FILE not in model.names or is_pointer(model.content(PLAN_FILE) or b""):
        return
    if fault := plan_fault(path):
        yield Fault(fault, in_file(path), remedy=_AS_MADE)
    elif model.config is not None:
        from mlx_publish.recipes.plan import read_plan  # noqa: PLC0415  few models have one

        found = plan_differences(read_plan(path), model.config)
        yield from (model.fault(MODEL, shown(key, 200), words, _AS_MADE) for key, words in islice(found, _MOST))
