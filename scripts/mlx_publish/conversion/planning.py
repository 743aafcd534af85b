"""Plans before a conversion: measured once a source, solved for each target, or read from a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlx_publish.checks.planned import PlannedFacts
from mlx_publish.context import Context
from mlx_publish.conversion.planned_file import followed_file, plan_from, quantization_of
from mlx_publish.conversion.sensitive import measured
from mlx_publish.errors import Refused
from mlx_publish.evidence.closeness import CLOSE, NEAR_IDENTICAL
from mlx_publish.evidence.digests import sha256_of
from mlx_publish.evidence.quantization import PLAN_FILE, Quantization
from mlx_publish.evidence.sensitivities import WHOLE, Sensitivities, rung_of
from mlx_publish.machine.macs import most_weights_for, need
from mlx_publish.methods.plan import Target, target_of
from mlx_publish.model.allocation import OutOfReach, fits_into, step_above, widest, within
from mlx_publish.recipes.plan import Plan, read_plan
from mlx_publish.recipes.plan_text import write_plan
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.calibration import calibration_inputs
from mlx_publish.source.layout import Prepared
from mlx_publish.source.reach import cache_bytes, too_little
from mlx_publish.source.resolve import converter, metadata_of
from mlx_publish.text.numbers import significant, size

FILE = "plan.yaml"
"""Of a variant's work folder."""
_ROOM = 0.75
"""Of the divergence that a word allows: what fidelity measures is 15 to 25 % above the prediction (SmolLM2-135M)."""
LIMITS: Mapping[str, float] = {
    "near-identical": _ROOM * NEAR_IDENTICAL,
    "balanced": _ROOM * math.sqrt(NEAR_IDENTICAL * CLOSE),
    "smallest": _ROOM * CLOSE,
}
"""Predicted mean KL divergence in nats that an aim allows."""


@dataclass(frozen=True)
class Followed:
    """The plan that a variant follows."""

    target: Target
    path: Path
    sha256: str
    plan: Plan
    cache_bytes: int = 0
    """At the context of a `fits` target."""
    budget_bytes: int | None = None
    """Of all weights, where the target is a size."""
    step_bytes: int | None = None
    """What the next wider allocation has more."""

    def quantization(self) -> Quantization:
        """Return what evidence says of the variant that follows it: the same whether it was measured or is repeated."""
        return quantization_of(self.plan, self.sha256, pinned=self.target.file is not None)

    def facts(self, identity: str, bits_per_weight: float, weight_bytes: int) -> PlannedFacts:
        """Return what the checks of the converted variant look at."""
        return PlannedFacts(
            self.target,
            self.plan,
            identity,
            bits_per_weight,
            weight_bytes,
            self.cache_bytes,
            self.budget_bytes,
            self.step_bytes,
        )


def given_plan(context: Context, variant: Variant) -> Path | None:
    """Return the plan file that a variant follows; None where it is measured, or none is asked for."""
    return context.plans.get(variant.label) or context.recipe.plans.get(variant.label)


def plan_inputs(context: Context, variant: Variant) -> dict[str, object]:
    """Return what the bytes of a planned or learned variant depend on besides: its plan file, and the text it reads.

    Nothing for plain rounding. A reviewed plan is what came of that text, and `follows` compares it.
    """
    if not variant.quantized or not variant.quantizer.learns:
        return {}
    inputs: dict[str, object] = {}
    if path := context.recipe.plans.get(variant.label):
        inputs["plan"] = sha256_of(path)
    if not path or variant.quantizer.name != "plan":
        inputs["calibration"] = calibration_inputs(context, variant.quantizer.name)
    return inputs


def follows(context: Context, variant: Variant) -> bool:
    """Return whether the plan in `model/` is the one that the variant is to follow, if it is to follow one."""
    given, there = given_plan(context, variant), context.work.model(variant.label) / PLAN_FILE
    return given is None or (there.is_file() and sha256_of(there) == sha256_of(given))


def plans_of(context: Context, variants: Sequence[Variant], prepared: Prepared) -> Mapping[str, Followed]:
    """Return the plans of those variants that have one, by label; each lies in its variant's work folder.

    Raises `BadInput` where a target is out of reach or a plan file is of another source, and what `run_job` raises.
    """
    plans: dict[str, Followed] = {}
    for variant in variants:
        target = target_of(variant) if variant.quantized else None
        if target is None:
            continue
        path = context.work.variant(variant.label) / FILE
        if given := given_plan(context, variant):
            plan = followed_file(context, given, path, prepared)
            cache = cache_bytes(context, variant, target)
            budget = _budget(target, plan.weights, cache)
            followed = Followed(target, path, sha256_of(path), plan, cache_bytes=cache, budget_bytes=budget)
        else:
            followed = _planned(context, variant, target, measured(context, variant, prepared))
            write_plan(path, followed.plan)
            # As the file has it: whoever follows it later has its digits and no more.
            followed = replace(followed, plan=read_plan(path), sha256=sha256_of(path))
        plans[variant.label] = followed
        words = f"{followed.plan.bits_now:.3f} bits per weight, {size(followed.plan.weight_bytes)}"
        predicted = "" if followed.plan.edited else f", predicted mean KLD {significant(followed.plan.predicted_kld)}"
        context.console.progress(f"plan of {variant.label}: {words}{predicted}")
    return plans


def _planned(context: Context, variant: Variant, target: Target, sensitivities: Sensitivities) -> Followed:
    """Solve for a target."""
    modules = sensitivities.modules
    if not modules:
        raise Refused(
            "it has no module that can be quantized",
            check="converts",
            remedy="Leave it unquantized (dtype: bfloat16).",
        )
    # What sees or hears takes memory beside the language model, whose bits are planned.
    towers = sum(tower.nbytes for tower in metadata_of(context).towers) if converter(context).senses else 0
    cache = cache_bytes(context, variant, target) + towers * (target.memory_gb is not None)
    budget = _budget(target, sensitivities.weights, cache)
    try:
        if budget is None:
            allocation = within(modules, LIMITS[target.aim or ""])
        else:
            allocation = fits_into(modules, budget - sensitivities.other_bytes)
    except OutOfReach as error:
        least = int(error.least) + sensitivities.other_bytes, sensitivities.weights
        raise too_little(context, variant, target, least, cache) from None
    if all(rung_of(rung) == WHOLE for rung in allocation.rungs.values()):
        allocation = widest(modules)  # with nothing quantized it would be another kind of variant
    weight_bytes = allocation.bytes + sensitivities.other_bytes
    needed = need(weight_bytes, cache) if target.memory_gb is not None else None
    return Followed(
        target,
        context.work.variant(variant.label) / FILE,
        "",
        plan_from(context, target, sensitivities, allocation, needed),
        cache,
        budget,
        step_above(modules, allocation.rungs),
    )


def _budget(target: Target, weights: int, cache: int) -> int | None:
    """Return the bytes that all weights may have; None for an aim."""
    if target.bits_per_weight is not None:
        return int(target.bits_per_weight * weights / 8)
    return most_weights_for(target.memory_gb << 30, cache) if target.memory_gb is not None else None
