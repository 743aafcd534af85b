"""What the stages that ask the converted model have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mlx_publish.children.engine import PEAK_ANEW
from mlx_publish.children.jobs import Bounds, Job
from mlx_publish.context import Context
from mlx_publish.evidence.digests import folder_digest
from mlx_publish.machine.packages import computes_by, versions
from mlx_publish.machine.resources import memory_bytes, most_weights, side_by_side
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.streamed import is_streamed

FLOAT32 = 4
"""Bytes of a weight that the CPU computes with."""
_LATER: Mapping[str, frozenset[str]] = {
    "answers": frozenset({"fidelity", "benchmark"}),
    "perceived": frozenset({"fidelity", "benchmark"}),
    "compare": frozenset({"benchmark"}),
    "benchmark": frozenset(),
}
"""Operations that ask a converted model, and the stages that ask it afterwards."""
_STAYING = 0.8
"""Of the memory for weights, what models may have that wait in children."""
_LIBRARIES = 1 << 28
"""Bytes of a child besides its model."""


def measured_inputs(context: Context, variant: Variant, section: str) -> dict[str, object]:
    """Return the converted bytes, the part of the recipe that says what is measured, and the tools."""
    return {
        "model": folder_digest(context.work.digests(context.work.model(variant.label))),
        "recipe": context.recipe.digest_of(section, "accept"),
        "tools": versions(),
    }


def job_of(context: Context, variant: Variant, op: str, arguments: Mapping[str, object]) -> Job:
    """Return a job of the engine on a converted folder, with its log beside the variant's reports.

    Where later stages of this run ask the same model, and memory allows, the child waits with it.
    """
    folder, log = str(context.work.model(variant.label)), context.work.variant(variant.label) / f"{op}.log"
    model = folder if op in _LATER else ""
    return Job(
        op,
        {"folder": folder, **arguments},
        log,
        bounds(context),
        context.children,
        variant.label,
        model,
        keeps(context, variant, op),
    )


def keeps(context: Context, variant: Variant, op: str) -> bool:
    """Return whether a child that has done `op` waits with a variant's model."""
    return bool(_later(op) & context.planned) and variant in staying(context)


def _later(op: str) -> frozenset[str]:
    """Return the stages that ask the model after `op`, in the same process."""
    # Elsewhere what measures memory is a process of its own.
    return _LATER.get(op, frozenset()) - (set() if PEAK_ANEW else {"benchmark"})


def staying(context: Context) -> list[Variant]:
    """Return the variants whose models may stay in memory from stage to stage: the first that fit a part of it."""
    most, variants = _STAYING * most_weights(), []
    unpacked = FLOAT32 * parameters(context) if computes_by() == "cpu" else 0
    for variant in context.variants:
        if not context.work.passed(variant.label, "convert"):  # it goes no further
            continue
        most -= _LIBRARIES + unpacked + context.converted(variant).weight_bytes
        if most < 0:
            break
        variants.append(variant)
    return variants


def bounds(context: Context, variants: int = 1) -> Bounds:
    """Return what a child of MLX may take for this model.

    Half an hour, and half an hour for each 500 million parameters and variant, at most six; memory for the weights
    thrice in float32 (read, cast, converted), for what is measured, and for scores of attention (`long_text`).
    """
    weights = parameters(context)
    seconds = min(6.0, 0.5 + variants * weights / 1e9) * 3600
    return Bounds(seconds, int(4 * 2**30 + 3 * FLOAT32 * weights + 0.4 * memory_bytes()))


def parameters(context: Context) -> int:
    """Return how many parameters the source has."""
    return context.inspected_source.parameters


def memory_fits(context: Context) -> bool:
    """Return whether the whole source can be computed with: 2 bytes a weight on a GPU, 4 on a CPU."""
    return (FLOAT32 if computes_by() == "cpu" else 2) * parameters(context) < most_weights()


def source_fits(context: Context) -> bool:
    """Return whether the source can be asked beside what was made of it: one that was streamed is not on this disk."""
    return memory_fits(context) and not is_streamed(context)


def at_once(context: Context, variants: Sequence[Variant]) -> int:
    """Return how many variants may be asked side by side, each with its weights as they are and unpacked."""
    stored = max((context.converted(variant).weight_bytes for variant in variants), default=0)
    return side_by_side(len(variants), FLOAT32 * parameters(context) + stored)


def rounded(value: object) -> object:
    """Return plain data with six digits, more than a text can tell apart; JSON has no NaN, so it becomes None."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else value
