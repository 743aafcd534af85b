"""Plans made by hand: of bits that nobody measured."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import mlx.core as mx  # noqa: TID251 -- the model as mlx-lm builds it
import numpy as np
from mlx import nn  # noqa: TID251
from mlx.utils import tree_flatten  # noqa: TID251

from mlx_publish.engine.backends import use
from mlx_publish.engine.methods.plan import quantizable
from mlx_publish.engine.source_model import load_source
from mlx_publish.engine.weighted import STEPS
from mlx_publish.evidence.sensitivities import Sensitivities, rung_of
from mlx_publish.recipes.plan import Others, Plan, PlannedModule, PlannedSource, digest_of_choice
from mlx_publish.recipes.plan_text import write_plan
from sensitivities import module

MODULES = ("model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj")
RUNGS = ((4, 64), (3, 64), (8, 32), (16, 0), (6, 64), (5, 64))


def a_plan() -> Plan:
    """A plan of a model that nobody has."""
    modules = {
        path: PlannedModule(bits=4, group_size=64, kld=0.01, kind="mlp", weights=4096, floor=3) for path in MODULES
    }
    return plan_of_modules(modules, {"model.layers.0.mlp.up_proj": "0123456789abcdef" * 4})


def plan_of_modules(modules: Mapping[str, PlannedModule], importance: Mapping[str, str]) -> Plan:
    """A plan with these modules."""
    return Plan(
        source=PlannedSource(name="Tiny", identity="0" * 40),
        target={"target_bpw": 4.5},
        target_words="4.5 bits per weight",
        bits_per_weight=4.5,
        predicted_kld=0.03,
        chosen=digest_of_choice(modules),
        others=Others(weights=1024, bytes=2048),
        modules=dict(modules),
        importance=dict(importance),
    )


def sensitivities_of(source: Path) -> Sensitivities:
    """Sensitivities of a model that nobody measured: what is next to embeddings and head counts little."""
    model, inputs = _built(source), dict[str, str]()
    sizes, others = _sizes(model), _others(model)
    modules = []
    for name, columns in quantizable(model).items():
        weight = 50.0 if name.endswith(("embed_tokens", "lm_head")) else 0.01
        inputs[name] = "".join(itertools.islice(itertools.cycle("0123456789ab"), columns))
        each = module(name, sizes[name], weight)
        rungs = {key: cost for key, cost in each.rungs.items() if columns % (rung_of(key)[1] or 1) == 0}
        modules.append(replace(each, rungs=rungs))
    nbytes = sum(int(array.nbytes) for array in others)
    count = sum(int(array.size) for array in others)
    return Sensitivities(modules, inputs, nbytes, 1024, "7" * 64, "float32", other_weights=count)


def _built(source: Path) -> nn.Module:
    use("mlx_lm")
    return load_source(source).model


def _sizes(model: nn.Module) -> dict[str, int]:
    return {name: int(each.weight.size) for name, each in model.named_modules() if hasattr(each, "to_quantized")}


def _others(model: nn.Module) -> list[mx.array]:
    """Parameters that no plan names."""
    planned = {f"{name}.weight" for name in quantizable(model)}
    return [array for path, array in tree_flatten(model.parameters()) if path not in planned]


def write_plan_of(source: Path, path: Path) -> Plan:
    """Write a plan of a model: one rung after the other, with importance that is drawn."""
    model = _built(source)
    sizes, others = _sizes(model), _others(model)
    random, modules, importance = np.random.default_rng(3), dict[str, PlannedModule](), dict[str, str]()
    for (name, columns), (width, group) in zip(quantizable(model).items(), itertools.cycle(RUNGS), strict=False):
        key = f"{name.rpartition('.')[0]}.{columns}" if group else ""
        given = {"bits": width, "group_size": group, "kld": 0.01, "kind": "mlp", "weights": sizes[name], "input": key}
        modules[name] = PlannedModule.model_validate(given)
        if key:
            importance[key] = "".join(STEPS[step] for step in random.integers(0, 20, columns))
    beside = Others(weights=sum(array.size for array in others), bytes=sum(array.nbytes for array in others))
    plan = plan_of_modules(modules, importance).model_copy(update={"others": beside})
    plan = plan.model_copy(update={"bits_per_weight": plan.bits_now})
    write_plan(path, plan)
    return plan
