"""Bits and group size of each module as a plan has them, and scales by importance where it says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn

from mlx_publish.engine import module_kinds, towers
from mlx_publish.engine.backends import backend
from mlx_publish.engine.methods import Quantized, refusing
from mlx_publish.errors import BadInput
from mlx_publish.evidence.conversion import KeptLayers, VariantOrder
from mlx_publish.evidence.sensitivities import WHOLE, Rung
from mlx_publish.recipes.plan import PlannedModule, read_plan
from mlx_publish.text.nearest import did_you_mean


@dataclass(frozen=True)
class Planned:
    """A module of a plan."""

    rung: Rung
    importance: str = ""
    """A step for each column of its weight; empty for MLX's own scales."""
    input: str = ""
    """The key of the plan under which the importance stands."""


def quantize(model: nn.Module, config: dict[str, Any], order: VariantOrder, streams: Iterator[Any]) -> Quantized:
    """Quantize a model lazily by the order's plan, each module on the next of `streams`.

    Raises `BadInput` where the plan does not fit the model, `Refused` if mlx-lm cannot do it.
    """
    planned = read(Path(order.plan))
    # mlx-lm asks the predicate only for modules that groups of the order's size divide.
    asked = replace(order, bits=4, group_size=module_kinds.LEAST_GROUP, mode="affine", mixed=None, towers=None)
    # A plan is measured without what the class never quantizes.
    left = {path for path, way in module_kinds.wanted_by_class(model, asked).items() if way is False}
    _compare(planned, quantizable(model), left, order.plan)

    beside: dict[str, dict[str, Any]] = {}

    def predicate(path: str, module: nn.Module) -> bool | dict[str, Any]:
        # Called for each module just before it is quantized, which is the place to change the stream.
        mx.set_default_stream(next(streams))
        if (own := towers.settings(path, module, order)) is not None:
            beside[path] = own
            return dict(own)
        rung = planned[path].rung if path in planned else WHOLE
        return False if rung == WHOLE else _settings(rung)

    before = config.get("quantization")
    with refusing(order):
        quantized, config = backend().quantize(model, config, asked, predicate)
    config["quantization"] = config["quantization_config"] = block(planned, before) | beside
    importance = {path: module.importance for path, module in planned.items() if module.importance}
    return Quantized(quantized, config, KeptLayers(), importance)


def read(path: Path) -> dict[str, Planned]:
    """Return the modules of a plan file. Raises `BadInput` where it is none."""
    plan = read_plan(path)
    steps = plan.importance if plan.rounding == "weighted" else {}

    def of(module: PlannedModule) -> Planned:
        if module.bits == WHOLE[0]:
            return Planned(WHOLE)
        return Planned((module.bits, module.group_size), steps.get(module.input, ""), module.input)

    return {path: of(module) for path, module in plan.modules.items()}


def quantizable(model: nn.Module) -> dict[str, int]:
    """Return the modules that can be quantized, by path with the columns of their weights."""
    return {path: int(module.weight.shape[-1]) for path, module in module_kinds.quantizable(model).items()}


def block(planned: Mapping[str, Planned], before: object = None) -> dict[str, Any]:
    """Return config.json's `quantization`: the commonest settings, and an entry for each module with others.

    `before` is that of a source which is quantized in part: its settings stay, and all modules have entries.
    """
    rungs = {path: module.rung for path, module in planned.items()}
    if isinstance(before, Mapping):
        made, common = dict(before), None
    else:
        [(common, _)] = Counter(rung for rung in rungs.values() if rung != WHOLE).most_common(1)
        made = _settings(common)
    return made | {path: False if rung == WHOLE else _settings(rung) for path, rung in rungs.items() if rung != common}


def _settings(rung: Rung) -> dict[str, Any]:
    return {"group_size": rung[1], "bits": rung[0], "mode": "affine"}


def _compare(planned: Mapping[str, Planned], columns: Mapping[str, int], left: Collection[str], file: str) -> None:
    """Raise `BadInput` where modules of a plan are not those of the model, or its groups do not divide them.

    Those that are `left` whole may be missing.
    """

    def wrong(key: str, message: str, remedy: str) -> BadInput:
        return BadInput(message, place=file, key=key, remedy=remedy)

    for path, module in planned.items():
        key = f"modules.{path}"
        if path not in columns:
            message = f"the model has no such module that can be quantized{did_you_mean(path, columns)}"
            raise wrong(key, message, "Remove it, or use the plan of this source.")
        if module.rung == WHOLE:
            continue
        if columns[path] % module.rung[1]:
            message = f"groups of {module.rung[1]} do not divide its {columns[path]:,} columns"
            sizes = [str(size) for size in (32, 64, 128) if columns[path] % size == 0]
            remedy = f"Use {' or '.join(sizes)}, or bits: 16." if sizes else "Set bits: 16, without group_size."
            raise wrong(f"{key}.group_size", message, remedy)
        if module.importance and len(module.importance) != columns[path]:
            message = f"has {len(module.importance):,} columns, but {path} has {columns[path]:,}"
            raise wrong(f"importance.{module.input}", message, "Use the plan of this source, or set rounding: nearest.")
    for path, width in columns.items():
        if path not in planned and path not in left and width % module_kinds.LEAST_GROUP == 0:
            raise wrong(
                f"modules.{path}", "the plan lacks this module of the model", "Add it; bits: 16 leaves it whole."
            )
    if all(module.rung == WHOLE for module in planned.values()):
        raise wrong("modules", "the plan quantizes nothing", "Give modules fewer bits, or ask for dtype alone.")
