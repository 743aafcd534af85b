"""Judgements about the comparison with the source on text behind pictures, of a model that sees."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned
from mlx_publish.checks.fidelity import better, judge_first_choice
from mlx_publish.evidence.closeness import NEAR_IDENTICAL, closeness
from mlx_publish.evidence.measured import Divergence, SourceRead
from mlx_publish.evidence.pictured import Effect, PictureDivergence
from mlx_publish.recipes.recipe import FidelityTest, Variant
from mlx_publish.text.numbers import significant

TIMES = 3.0
"""How many times the text's mean KLD that behind pictures may be before it is told."""
LEAST = 0.001
"""Mean KLD in nats below which nothing is told."""
UNSEEN = 0.01
"""Of the source's change by another picture: a model that changes less ignores what it is shown."""
MARGIN = 0.01
"""By which a correlation may be below what rounding explains."""
_TOWERS = (
    "The weights of the towers or of the projector are not the source's: convert again, or check the source's files."
)


@dataclass(frozen=True)
class PicturedFacts:
    """The measurement of one variant, and the limits of its recipe."""

    divergence: Divergence | None
    source: SourceRead | None
    limits: FidelityTest
    variant: Variant
    not_measured: str = ""
    """Why there are no numbers at all."""

    @property
    def pictures(self) -> PictureDivergence | None:
        """The comparison behind pictures, where there is one."""
        return self.divergence.pictures if self.divergence else None

    @property
    def text_kld(self) -> float | None:
        """The mean KLD on text alone."""
        return self.divergence.mean_kld if self.divergence else None

    @property
    def explained(self) -> float:
        """The least correlation of effects that the divergence on text alone explains.

        A mean KLD of k nats stands for log-probabilities whose errors have a variance of 2k, with each of two pictures;
        an effect of e nats for changes with a variance of 2e. Errors that have nothing to do with each other leave a
        correlation of (1 + 2k / e)^-1/2; those of rounding have, and leave more.
        """
        effect = self.pictures.effect.source if self.pictures and self.pictures.effect else None
        return 1 / math.sqrt(1 + 2 * (self.text_kld or 0) / effect) if effect else 0.0


def _compared(facts: PicturedFacts) -> Says:
    if facts.divergence is None:
        return skipped(f"not measured, because {facts.not_measured}")
    if fault := facts.divergence.pictures_fault:
        return failed(f"it fails on pictures that its source reads: {fault}", _TOWERS)
    if (pictures := facts.pictures) is not None:
        return passed(
            f"compared over {pictures.positions:,} positions behind {pictures.pictures} pictures, "
            f"{pictures.image_tokens:,} image tokens"
        )
    reason = facts.source.pictures.reason if facts.source and facts.source.pictures else ""
    return warned(
        f"not measured with pictures, because the source cannot read them: {reason}",
        "Check the source's processor files, or have mlx-vlm fixed upstream.",
    )


def _finite(facts: PicturedFacts) -> Says:
    if (pictures := facts.pictures) is None:
        return skipped("not measured")
    told = [number.name for number in fields(pictures) if "left_out" not in number.metadata]
    broken = sorted(name for name in told if getattr(pictures, name) is None)
    if broken:
        return failed(f"behind pictures not a number: {', '.join(broken)}", _TOWERS)
    return passed(f"all numbers are finite over {pictures.positions:,} positions behind pictures")


def _kld(facts: PicturedFacts) -> Says:
    pictures, text = facts.pictures, facts.text_kld
    if pictures is None or text is None or (mean := pictures.mean_kld) is None:
        return skipped("not measured")
    step, error = closeness(mean), pictures.mean_kld_error or 0
    words = f"{step.word} behind pictures: mean KLD {mean:.4f} ± {error:.4f} nats; on text alone {text:.4f}"
    if mean > facts.limits.max_mean_kld:
        short = f"mean KLD {significant(mean)} behind pictures, over the limit {facts.limits.max_mean_kld:g}"
        return failed(f"{words}; the limit is {facts.limits.max_mean_kld:g}", better(facts.variant), short=short)
    worse = mean - (pictures.error_factor or 0) * error > max(TIMES * text, LEAST)
    if worse and not facts.variant.quantized and mean >= NEAR_IDENTICAL:
        return failed(f"{words}: nothing is quantized, so they should be as close as on text", _TOWERS)
    if worse:
        times = f"{significant(mean / text)} times as far" if text else "farther"
        return warned(f"{words}: {times} from the source as on text, so pictures suffer most", better(facts.variant))
    return warned(words, better(facts.variant)) if step.warns else passed(words)


def _first_choice(facts: PicturedFacts) -> Says:
    share = facts.pictures.same_first_choice if facts.pictures else None
    return judge_first_choice(share, facts.limits, facts.variant, " behind pictures")


def _seen(facts: PicturedFacts) -> Says:
    effect = facts.pictures.effect if facts.pictures else None
    if effect is None or effect.source is None or effect.model is None:
        return skipped("not measured")
    if effect.share is None or effect.correlation is None:
        return warned("another picture changes nothing in the source's own answers, so nothing can be compared")
    words = _changes(effect)
    if effect.model < UNSEEN * effect.source:
        return failed(f"it ignores its pictures: {words}", _TOWERS, short="it ignores its pictures")
    low = facts.explained - MARGIN
    if effect.correlation >= low:
        return passed(words)
    below = f"{words}; rounding explains {facts.explained:.2f} or more"
    # Where rounding moves a model as far as another picture does, its effect is lost in it.
    lost = (facts.text_kld or 0) > effect.source
    if effect.correlation < facts.explained / 2 or not (facts.variant.quantized or lost):
        return failed(
            f"it does not see what its source sees: {below}", _TOWERS, short="it does not see what its source sees"
        )
    return warned(f"it sees less than its source: {below}", better(facts.variant))


def _changes(effect: Effect) -> str:
    return (
        f"another picture changes its next token by {effect.model:.3g} nats, the source's by {effect.source:.3g}, "
        f"with a correlation of {effect.correlation:.3f}"
    )


PICTURED: tuple[Check[PicturedFacts], ...] = (
    Check(
        "pictures-compared",
        "Source and result read the same texts behind pictures",
        "towers that nobody tried",
        _compared,
    ),
    Check(
        "pictures-finite",
        "All measurements behind pictures are finite",
        "a tower whose numbers overflow",
        _finite,
        safety=True,
    ),
    Check(
        "pictures-kld",
        "Mean KL divergence behind pictures is within the limit, and near that on text",
        "a broken tower beside a good language model",
        _kld,
    ),
    Check(
        "pictures-first-choice",
        "Top-1 agreement behind pictures is within the limit",
        "a broken tower beside a good language model",
        _first_choice,
    ),
    Check(
        "pictures-effect",
        "Another picture changes the result as it changes the source",
        "a model that answers without looking",
        _seen,
    ),
)
