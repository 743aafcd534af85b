"""Multi-token heads: whether a drafter can be made of them, whether it is what was made, whether it drafts."""

from __future__ import annotations

from dataclasses import dataclass

from mlx_publish.checks.base import Check, Says, failed, passed, warned
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.evidence.drafter import DrafterMade, DrafterProof, DrafterUnproven
from mlx_publish.model.drafters import Unfit, declared, drafter_of, heads_of, unsupported
from mlx_publish.model.names import shown
from mlx_publish.model.spellings import class_type
from mlx_publish.text.numbers import size

WITHOUT = "Leave out mtp: the model itself loses nothing."
_KEY = "mtp: keep"
_TIE, _ROUTED_TIE, _HALF_TIE = 0.002, 0.1, 0.25
"""Nats by which rounding alone may turn a choice: in float32, there with a router of experts, and in half precision.

A round of several tokens adds in another order than one token after the other. In float32, dense models parted where
tokens were at most 0.0004 apart: five times that is allowed. A router turns the same rounding into another expert: a
random model with experts parted at 0.02. Logits in half precision have steps of up to an eighth.
"""
_MOST = 0.5
"""Share of the answers that ties may turn."""


def kinds_of(facts: SourceFacts) -> tuple[str | None, ...]:
    """Return the model types by which a source's drafter is found."""
    config = facts.source.config
    return config.model_type, class_type(config.raw)


def concerns(facts: SourceFacts) -> bool:
    """Return whether a source has multi-token heads, or the recipe wants them kept."""
    return facts.recipe.spec.mtp is not None or bool(heads_of(facts.source.tensors, facts.source.config.text))


def _heads(facts: SourceFacts) -> Says:
    config, asked = facts.source.config.text, facts.recipe.spec.mtp
    heads = heads_of(facts.source.tensors, config)
    left = f"{len(heads)} tensors of multi-token heads ({size(sum(tensor.nbytes for tensor in heads))})"
    if asked is None:
        if reason := unsupported(kinds_of(facts)):
            return warned(f"{left} are left out: {reason}")
        return warned(
            f"{left} are left out, with which mlx-vlm generates faster",
            f"Set {_KEY} in the recipe (--mtp keep) to publish them as a drafter beside the model, or leave them out.",
        )
    try:
        drafter = drafter_of(kinds_of(facts), config, facts.source.tensors)
    except Unfit as unfit:
        return failed(f"no drafter can be made: {unfit}", WITHOUT)
    if not heads or ((told := declared(config)) and told != drafter.depth):
        return failed("config.json and the heads disagree", WITHOUT)
    how = f"{asked.bits} bits, groups of {asked.group}" if asked.bits else "the source's own numbers"
    return passed(f"{left} become a drafter of the type {drafter.model_type}, with {how}")


@dataclass(frozen=True)
class DrafterFacts:
    """A drafter that was written, beside the tensors of the source that the conversion left out."""

    made: DrafterMade
    bits: int | None
    heads: int
    """Tensors of the source's heads."""
    mended: str = ""
    """What the model's config.json says now for mlx-vlm's sake."""


def _same(facts: DrafterFacts) -> Says:
    made = facts.made
    again = "Convert again with --force."
    if made.different:
        return failed(f"not what mlx-vlm makes of the source's tensors: {_some(made.different)}", again)
    if made.tensors != facts.heads:
        return failed(f"it is made of {made.tensors} tensors, and the source's heads have {facts.heads}", again)
    if made.twice:
        return failed(
            f"the scales of its norms have one added already ({_some(made.twice)}), which mlx-vlm would add again",
            "Choose the source as its authors published it, or leave out mtp.",
        )
    what = f"all {made.tensors} tensors of the heads are in it"
    rounded = f"{made.quantized} of them within a step of {facts.bits} bits, the others equal"
    return passed(f"{what}, {rounded if facts.bits else 'equal to the source'}{facts.mended}")


def _some(names: object) -> str:
    listed = [shown(str(name)) for name in names][:3] if isinstance(names, (list, tuple)) else []
    return ", ".join(listed)


def _proven(proof: DrafterProof | DrafterUnproven) -> Says:
    if isinstance(proof, DrafterUnproven):
        return failed(proof.reason, _INSTALL if proof.missing else _BROKEN)
    if not proof.tokens or not proof.rounds:
        return failed("mlx-vlm generated nothing with the drafter", _BROKEN)
    rate = proof.accepted / proof.drafted if proof.drafted else 0.0
    words = (
        f"{proof.prompts} greedy answers of mlx-vlm {proof.versions.get('mlx-vlm', '')} are the same with it; "
        f"{proof.accepted} of {proof.drafted} drafted tokens accepted ({rate:.0%}), "
        f"{proof.tokens / proof.rounds:.2f} tokens per round"
    )
    tie = _HALF_TIE if proof.computed_in != "float32" else _ROUTED_TIE if proof.routed else _TIE
    real = [one for one in proof.differences if one.gap > tie]
    if len(proof.differences) > _MOST * proof.prompts:
        real = list(proof.differences)
    if real:
        first = real[0]
        return failed(
            f"{len(real)} of {proof.prompts} greedy answers differ with the drafter, the first at token "
            f"{first.position + 1}, where the model prefers its own by {first.gap:.3g} nats",
            "This is a fault of mlx-vlm or of the model's config for it. Leave out mtp, or report it to mlx-vlm.",
        )
    if proof.differences:
        words = words.replace("are the same with it", "are the same with it but for ties that rounding decides", 1)
    if not proof.accepted:
        return warned(f"{words}: it would slow generation down", WITHOUT)
    return passed(words)


_INSTALL = (
    "Run: sh scripts/bootstrap.sh -s vision (or name a Python that has mlx-vlm in MLX_PUBLISH_VISION_PYTHON); leave "
    "out mtp; or accept the check mtp-proven with a reason."
)
_BROKEN = "Leave out mtp, or accept the check mtp-proven with a reason."

HEADS: tuple[Check[SourceFacts], ...] = (
    Check(
        "mtp-heads",
        "Multi-token heads are left out knowingly, or make a drafter",
        "silently losing what generates faster",
        _heads,
        safety=True,
    ),
)
WRITTEN: tuple[Check[DrafterFacts], ...] = (
    Check(
        "mtp-same",
        "The drafter has the numbers of the source's heads",
        "a drafter of other numbers, or a part of one",
        _same,
        safety=True,
    ),
)
PROVEN: tuple[Check[DrafterProof | DrafterUnproven], ...] = (
    Check(
        "mtp-proven",
        "mlx-vlm generates the same text with the drafter and without it",
        "a drafter that does not load, or changes answers",
        _proven,
    ),
)
