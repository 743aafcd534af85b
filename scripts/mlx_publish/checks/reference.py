"""The judgement about the unquantized MLX model beside another implementation of the same architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned
from mlx_publish.text.numbers import percent

# Measured in float32 on the CPU: equal models are at 3e-13 (2 layers) to 4e-11 (SmolLM2); the smallest deviation of
# mlx-lm that was seen, another approximation of GELU, makes 1e-8.
ROUNDING = 1e-9
# The least of what spoils texts makes 4e-5 (yarn's range rounded for gpt-oss), a wrong rms_norm_eps 4e-7.
MAX_NMSE = 1e-5
# Equal models agree everywhere; two near ties in 256 positions may fall otherwise.
MIN_SAME_FIRST_CHOICE = 0.99
LOOK = (
    "Look in its mlx-lm class for rope, norms, scaling and head; a newer mlx-lm may compute it. "
    "Accept the check with the reason where the deviation is known."
)


@dataclass(frozen=True)
class ReferenceFacts:
    """What the comparison found, as `source/transformers_check` gives it, or why there was none."""

    result: Mapping[str, Any] | None
    reason: str = ""


NOT_ASKED = ReferenceFacts(None, "the recipe does not ask for a reference")


def _proven(facts: ReferenceFacts) -> Says:
    if facts.result is None:
        return skipped(f"not compared with transformers: {facts.reason}")
    found = facts.result
    if found["nmse"] is None:
        return failed(f"no comparison with transformers is possible: {found['problem']}", LOOK)
    share = percent(found["same_first_choice"])
    numbers = f"normalised squared error {found['nmse']:.1e}, same first choice at {share} of positions"
    name = f"transformers {found['versions']['transformers']}"
    if (disputed := found.get("disputed")) and _agrees(disputed):
        return warned(
            f"the unquantized MLX model is what {name} computes but for {disputed['key']}, which both read "
            f"differently: {numbers}; with {disputed['agreed']} in the place of {disputed['value']} the error is "
            f"{disputed['nmse']:.1e}{_not_covered(found)}",
            "Which of both is right is disputed; the model may answer a little otherwise than in transformers.",
        )
    if not _equal(found) or found["same_first_choice"] < MIN_SAME_FIRST_CHOICE:
        text = f"the unquantized MLX model is not what {name} computes: {numbers}, limit {MAX_NMSE:.0e}"
        return failed(f"{text}{_beyond(found)}", LOOK)
    if found["nmse"] > ROUNDING:
        text = f"the unquantized MLX model is nearly what {name} computes: {numbers}; rounding makes {ROUNDING:.0e}"
        return warned(
            f"{text}{_not_covered(found)}", "A constant or an approximation, as that of GELU, is another one in mlx-lm."
        )
    return passed(f"the unquantized MLX model is what {name} computes: {numbers}{_not_covered(found)}")


def _beyond(found: Mapping[str, Any]) -> str:
    """Where longrope's long factors explain it, say so: then it is right for long texts and wrong for short ones."""
    beyond = found["beyond_context"]
    if not beyond or not _equal(beyond):
        return ""
    return f"; it computes at every length what is meant for texts longer than {beyond['original_context']} positions"


def _equal(found: Mapping[str, Any]) -> bool:
    return found["nmse"] is not None and found["nmse"] <= MAX_NMSE


def _agrees(disputed: Mapping[str, Any]) -> bool:
    return _equal(disputed) and disputed["same_first_choice"] >= MIN_SAME_FIRST_CHOICE


def _not_covered(found: Mapping[str, Any]) -> str:
    left, beyond = list(found["not_covered"]), found["beyond_context"]
    if beyond and not _equal(beyond):
        left.append(f"rope beyond {beyond['original_context']} positions")
    return f"; not covered: {', '.join(left)}" if left else ""


REFERENCE: tuple[Check[ReferenceFacts], ...] = (
    Check("architecture-proven", "It computes what transformers computes", "a wrong rope, norm or head", _proven),
)
