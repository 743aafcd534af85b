"""Judgements about the comparison with the source."""

from __future__ import annotations

from dataclasses import dataclass, fields

from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned
from mlx_publish.evidence.closeness import closeness
from mlx_publish.evidence.clustered import unseen
from mlx_publish.evidence.measured import Against, Divergence
from mlx_publish.recipes.recipe import FidelityTest, Variant
from mlx_publish.text.numbers import significant


@dataclass(frozen=True)
class FidelityFacts:
    """The measurement of one variant, and the limits of its recipe."""

    divergence: Divergence | None
    against: Against
    limits: FidelityTest
    variant: Variant
    limited: bool = False
    """Whether the store of the source's logits has a limit that made it fewer positions than were asked for."""
    not_measured: str = ""
    """Why there are no numbers."""
    streamed: bool = False
    """Whether the source came straight from the Hub, so that it is not here to be compared with."""


_ROOM = "room for the source on its disk, without 'stream: true'"


def better(variant: Variant) -> str:
    """Return a remedy: a form that is probably nearer to the source."""
    if not variant.quantized:
        other = "float32" if variant.dtype == "bfloat16" else "bfloat16"
        return f"Use another dtype, such as {other}, or check the source."
    return variant.quantizer.better(variant.form)


def _against(facts: FidelityFacts) -> Says:
    elsewhere = f"Measure it on a machine with {_ROOM if facts.streamed else 'more memory'}."
    if facts.divergence is None:
        return warned(f"not measured, because {facts.not_measured}", elsewhere)
    against = facts.against
    if against.what == "variant":
        why = "was streamed and is not on this disk" if facts.streamed else "does not fit this machine's memory"
        return warned(
            f"compared with the variant {against.label} ({against.bits_per_weight:.2f} bits per weight), because the "
            f"source {why}",
            elsewhere,
        )
    limited = "; fewer positions than requested, because the store of logits is full" if facts.limited else ""
    return passed(f"compared with the unquantized source over {facts.divergence.positions:,} positions{limited}")


def _finite(facts: FidelityFacts) -> Says:
    if facts.divergence is None:
        return skipped("not measured")
    # What may be left out is no number only where one of the others is none.
    told = [number.name for number in fields(facts.divergence) if "left_out" not in number.metadata]
    broken = sorted(name for name in told if getattr(facts.divergence, name) is None)
    if broken:
        return failed(f"not a number: {', '.join(broken)}", "The weights are broken; check the source.")
    return passed(f"all numbers are finite over {facts.divergence.positions:,} positions")


def _kld(facts: FidelityFacts) -> Says:
    divergence = facts.divergence
    if divergence is None or (mean := divergence.mean_kld) is None:
        return skipped("not measured")
    error, p99 = divergence.mean_kld_error or 0, divergence.p99_kld
    step = closeness(mean)
    text = f"{step.word}: mean KLD {mean:.4f} ± {error:.4f} nats, 99th percentile {p99:.3g}"
    if mean > facts.limits.max_mean_kld:
        short = f"mean KLD {significant(mean)} over the limit {facts.limits.max_mean_kld:g}"
        limit = f"; the limit is {facts.limits.max_mean_kld:g}"
        return failed(f"{text}{limit}{_noise(divergence)}", better(facts.variant), short=short)
    text += _noise(divergence)
    return warned(text, better(facts.variant)) if step.warns else passed(text)


def _noise(divergence: Divergence) -> str:
    noise = unseen((divergence.error_factor or 0) * (divergence.mean_kld_error or 0))
    by = "" if divergence.errors_by == "passage" else " (positions taken as independent: too few passages)"
    return noise and f"; {noise}{by}"


def _first_choice(facts: FidelityFacts) -> Says:
    share = facts.divergence.same_first_choice if facts.divergence else None
    return judge_first_choice(share, facts.limits, facts.variant)


def judge_first_choice(share: float | None, limits: FidelityTest, variant: Variant, where: str = "") -> Says:
    """Judge top-1 agreement; `where` says of which positions, behind a space."""
    if share is None:
        return skipped("not measured")
    text = f"top-1 agreement with the source at {share:.1%} of positions{where}"
    if share >= limits.min_same_first_choice:
        return passed(text)
    limit = f"{limits.min_same_first_choice:.0%}"
    short = f"same first choice at {share:.0%} of positions{where}, under the limit {limit}"
    return failed(f"{text}; the limit is {limit}", better(variant), short=short)


def _perplexity(facts: FidelityFacts) -> Says:
    divergence = facts.divergence
    if divergence is None or divergence.perplexity is None or divergence.perplexity_ratio is None:
        return skipped("not measured")
    perplexity, ratio = divergence.perplexity, divergence.perplexity_ratio
    error = divergence.perplexity_ratio_error or 0
    text = f"perplexity {perplexity:.2f}, {ratio:.3f} ± {error:.3f} times the source's"
    if ratio <= facts.limits.max_perplexity_ratio:
        return passed(text)
    short = f"{significant(ratio)} of the source's perplexity, over the limit {facts.limits.max_perplexity_ratio:g}"
    return failed(f"{text}; the limit is {facts.limits.max_perplexity_ratio:g}", better(facts.variant), short=short)


FIDELITY: tuple[Check[FidelityFacts], ...] = (
    Check("compared-with", "The reference of the comparison is the source", "numbers without a reference", _against),
    Check("finite", "All measurements are finite", "broken weights", _finite, safety=True),
    Check("mean-kld", "Mean KL divergence is within the limit", "a broken model under a good name", _kld),
    Check(
        "same-first-choice", "Top-1 agreement is within the limit", "a broken model under a good name", _first_choice
    ),
    Check("perplexity", "The perplexity ratio is within the limit", "a broken model under a good name", _perplexity),
)
