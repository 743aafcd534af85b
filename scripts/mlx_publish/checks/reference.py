"""The judgement about the unquantized MLX model beside another implementation of the same architecture."""

from __future__ import annotations

from dataclasses import dataclass

from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned
from mlx_publish.evidence.proof import Disputed, LogitsComparison, ReferenceProof
from mlx_publish.text.numbers import percent

# Measured in float32 on the CPU: equal models are at 3e-13 (2 layers) to 4e-11 (SmolLM2); the smallest deviation of
# mlx-lm that was seen, another approximation of GELU, makes 1e-8.
ROUNDING = 1e-9
# The least of what spoils texts makes 4e-5 (yarn's range rounded for gpt-oss), a wrong rms_norm_eps 4e-7.
MAX_NMSE = 1e-5
# Equal models agree everywhere; two near ties in 256 positions may fall otherwise.
MIN_SAME_FIRST_CHOICE = 0.99
LOOK = (
    "Check rope, norms, scaling and head in its mlx-lm class; a newer mlx-lm may compute it. "
    "Accept the check with the reason where the deviation is known."
)


@dataclass(frozen=True)
class ReferenceFacts:
    """What the comparison shows, or why there is none."""

    proof: ReferenceProof | None
    reason: str = ""


NOT_ASKED = ReferenceFacts(None, "the recipe does not request a reference check")


def _proven(facts: ReferenceFacts) -> Says:
    if facts.proof is None:
        return skipped(f"not compared with transformers: {facts.reason}")
    proof = facts.proof
    if proof.nmse is None or proof.same_first_choice is None:
        return failed(f"no comparison with transformers is possible: {proof.problem}", LOOK)
    share = percent(proof.same_first_choice)
    numbers = f"normalised squared error {proof.nmse:.1e}, same first choice at {share} of positions"
    name = f"transformers {proof.versions['transformers']}"
    if proof.disputed and (dispute := _dispute(proof.disputed)):
        return warned(
            f"the unquantized MLX model matches {name} except for {proof.disputed.key}, which both read "
            f"differently: {numbers}; {dispute}{_not_covered(proof)}",
            "Which one is right is disputed; answers may differ slightly from transformers.",
        )
    if not _is_equal(proof) or proof.same_first_choice < MIN_SAME_FIRST_CHOICE:
        text = f"the unquantized MLX model differs from {name}: {numbers}, limit {MAX_NMSE:.0e}"
        return failed(f"{text}{_beyond(proof)}", LOOK)
    if proof.nmse > ROUNDING:
        text = f"the unquantized MLX model nearly matches {name}: {numbers}; rounding alone gives {ROUNDING:.0e}"
        return warned(
            f"{text}{_not_covered(proof)}", "mlx-lm uses a different constant or approximation, such as that of GELU."
        )
    return passed(f"the unquantized MLX model matches {name}: {numbers}{_not_covered(proof)}")


def _dispute(disputed: Disputed) -> str:
    """Return what is left of the error without the key that is disputed; empty if both differ all the same."""
    share = disputed.same_first_choice
    if disputed.nmse is None or disputed.nmse > MAX_NMSE or share is None or share < MIN_SAME_FIRST_CHOICE:
        return ""
    return f"with {disputed.agreed} in the place of {disputed.value} the error is {disputed.nmse:.1e}"


def _beyond(proof: ReferenceProof) -> str:
    """Where longrope's long factors explain it, say so: then it is right for long texts and wrong for short ones."""
    beyond = proof.beyond_context
    if not beyond or not _is_equal(beyond):
        return ""
    return f"; it computes at every length what is meant for texts longer than {beyond.original_context} positions"


def _is_equal(comparison: LogitsComparison) -> bool:
    return comparison.nmse is not None and comparison.nmse <= MAX_NMSE


def _not_covered(proof: ReferenceProof) -> str:
    left, beyond = list(proof.not_covered), proof.beyond_context
    if beyond and not _is_equal(beyond):
        left.append(f"rope beyond {beyond.original_context} positions")
    return f"; not covered: {', '.join(left)}" if left else ""


REFERENCE: tuple[Check[ReferenceFacts], ...] = (
    Check("architecture-proven", "The unquantized model matches transformers", "a wrong RoPE, norm or head", _proven),
)
