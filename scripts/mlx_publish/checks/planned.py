"""A variant whose bits a plan chose: it has the size that was asked for, by a plan of this source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlx_publish.checks.base import Check, Says, failed, passed, warned
from mlx_publish.machine.macs import need, usable
from mlx_publish.methods.plan import Target
from mlx_publish.recipes.plan import WHOLE, Plan
from mlx_publish.text.numbers import significant, size

NEAR, NEAR_MEMORY = 0.005, 0.03
"""How far below its target a variant may be, as a share: of bits per weight, and of memory."""
_AGAIN = "Convert again with --force."


@dataclass(frozen=True)
class PlannedFacts:
    """A converted variant beside its plan."""

    target: Target
    plan: Plan
    identity: str
    """Of the source that was converted."""
    bits_per_weight: float
    weight_bytes: int
    cache_bytes: int = 0
    """At the context of a `fits` target."""
    budget_bytes: int | None = None
    """Of all weights; None for a plan without a target in bytes."""
    step_bytes: int | None = None
    """What the next wider allocation has more; None where nothing is wider, and for a plan that was made before."""


def _hit(facts: PlannedFacts | None) -> Says:
    if facts is None:
        return passed("no plan: all quantized weights have the bits of the variant")
    target, bits = facts.target, facts.bits_per_weight
    details: dict[str, Any] = {"bits_per_weight": round(bits, 4), "predicted_kld": facts.plan.predicted_kld}
    if abs(facts.weight_bytes - facts.plan.weight_bytes) > NEAR * facts.plan.weight_bytes:
        return failed(
            f"{size(facts.weight_bytes)} of weights, but the plan gives {size(facts.plan.weight_bytes)}",
            _AGAIN if target.file is None else "Make a new plan with target_bpw, fits or aim, and pin that one.",
            **details,
        )
    if target.bits_per_weight is not None:
        return _within(facts, "bits per weight", (bits, target.bits_per_weight, NEAR), f"{bits:.3f}", details)
    if target.memory_gb is not None:
        needed, limit = need(facts.weight_bytes, facts.cache_bytes), usable(target.memory_gb << 30)
        details["need_bytes"] = needed
        what = f"of the {size(limit)} that a Mac with {target.memory_gb} GB lets its GPU use are needed"
        return _within(facts, what, (needed, limit, NEAR_MEMORY), size(needed), details)
    predicted = (
        "edited by hand, so nothing is predicted"
        if facts.plan.edited
        else f"mean KLD predicted: {significant(facts.plan.predicted_kld)}"
    )
    return passed(f"{bits:.3f} bits per weight ({predicted}; fidelity measures it)", **details)


def _within(
    facts: PlannedFacts, what: str, numbers: tuple[float, float, float], shown: str, details: dict[str, Any]
) -> Says:
    """Judge a number that may be a share of its limit below it, and not above."""
    now, limit, share = numbers
    asked = f"{limit:g} were asked for" if limit < WHOLE + 1 else f"{size(limit)} is the limit"
    words = f"{shown} {what}"
    if now > limit:
        return failed(f"{words}, and {asked}", "Use a lower target.", **details)
    if now >= (1 - share) * limit:
        return passed(f"{words}; {asked}", **details)
    if facts.plan.unquantized_bytes <= (facts.budget_bytes or 0):
        return warned(
            f"{words}, below the target ({asked}): the source itself is smaller, so every module has the widest rung",
            "Use a lower target, or an unquantized variant (dtype: bfloat16).",
            **details,
        )
    if facts.step_bytes is None:
        return warned(f"{words}, below the target ({asked}), as planned", **details)
    if facts.weight_bytes + facts.step_bytes > (facts.budget_bytes or 0):
        return warned(
            f"{words}, below the target ({asked}): the next step of any module is {size(facts.step_bytes)}", **details
        )
    return failed(f"{words}, more than {share:.1%} below the target ({asked})", _AGAIN, **details)


def _source(facts: PlannedFacts | None) -> Says:
    if facts is None:
        return passed("no plan chose its bits")
    made_of, edited = facts.plan.source, " Its bits were edited by hand." if facts.plan.edited else ""
    if made_of.identity == facts.identity:
        return passed(f"made from this source.{edited}" if edited else "made from this source")
    return warned(
        f"the plan was made from {made_of.name} at {made_of.identity[:12]}, and this is {facts.identity[:12]}.{edited}",
        "Make a new plan with target_bpw, fits or aim, and pin that one.",
    )


PLANNED: tuple[Check[PlannedFacts | None], ...] = (
    Check("target-hit", "A planned variant has the size that was asked for", "a model too large for its Mac", _hit),
    Check("plan-source", "The plan was made from this source", "bits chosen for other weights", _source),
)
