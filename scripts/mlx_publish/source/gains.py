"""Planned and learned variants beside plain rounding at equal bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.checks.earned import EarnedFacts
from mlx_publish.children.jobs import Job, run_job
from mlx_publish.context import Context
from mlx_publish.evidence.measured import Against, Divergence
from mlx_publish.evidence.quantization import Gain, RoundingPoint
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.evidence.rounding import GainOrder, Gains, RoundingCurve, Width
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.bounds import bounds, job_of, rounded
from mlx_publish.source.logits import SourceLogits
from mlx_publish.source.rounding import Point, Rounding, is_plain, plain_forms
from mlx_publish.source.streamed import REASON, is_streamed

RAW = "fidelity-positions.npz"


def not_here(context: Context) -> str:
    """Say why the source itself cannot be asked here."""
    return REASON if is_streamed(context) else "the source is too large for this machine"


def widest_facts(context: Context) -> EarnedFacts:
    """Return what is known of the variant that stands for the source."""
    reason = f"{not_here(context)}, and this is the widest variant, the one that the others are compared with"
    return EarnedFacts(None, reason=reason)


def learns(variant: Variant) -> bool:
    """Return whether a variant has to earn its bytes."""
    return variant.form.quantized and variant.quantizer.learns


def paired(variants: Sequence[Variant]) -> list[Variant]:
    """Return the variants whose values by position are needed: those that learn, and plain ones beside them."""
    types = {variant.form.dtype for variant in variants if learns(variant)}
    return [v for v in variants if learns(v) or any(is_plain(v, dtype) for dtype in types)]


def positions_path(context: Context, variant: Variant) -> Path:
    """Return the file with the values of all positions, beside a variant's reports."""
    return context.work.variant(variant.label) / RAW


def rounding_inputs(context: Context, variant: Variant, *, fits: bool) -> dict[str, object]:
    """Return what a comparison with plain rounding depends on besides the text, for a variant that has one."""
    if not learns(variant):
        return {}
    dtype = variant.form.dtype
    own = [v for v in context.recipe.variants if is_plain(v, dtype) and context.work.passed(v.label, "convert")]
    models = {v.label: context.converted(v).model for v in own}
    return {"rounding": {"forms": to_json(plain_forms(dtype)), "own": {} if fits else models}}


@dataclass(frozen=True)
class _Compared:
    """A variant that was compared with the source, and the file with its values by position."""

    variant: Variant
    divergence: Divergence
    values: Path

    @property
    def label(self) -> str:
        """That of the curve, whatever the recipe calls it."""
        return self.variant.quantizer.label(self.variant.form)


@dataclass(frozen=True)
class _Beside:
    """A variant with its neighbours on the curve, or the reason why it has none."""

    compared: _Compared
    weight_bytes: int
    neighbours: Sequence[Point] = ()
    curve: Sequence[RoundingPoint] = ()
    reason: str = ""

    def order(self) -> GainOrder:
        """Return what the engine is asked."""
        return GainOrder(
            self.compared.variant.label,
            self.weight_bytes,
            str(self.compared.values),
            [point.measured for point in self.neighbours],
            [str(point.values) for point in self.neighbours],
            self.curve,
        )


def earned_by(
    context: Context, logits: SourceLogits, against: Against, measured: Sequence[tuple[Variant, Divergence]]
) -> dict[str, EarnedFacts]:
    """Return, for each variant that learns, how it is beside plain rounding; widths that lack are measured."""
    compared = [_Compared(variant, of, positions_path(context, variant)) for variant, of in measured]
    learned = [one for one in compared if learns(one.variant)]
    besides: list[_Beside] = []
    for dtype in dict.fromkeys(one.variant.form.dtype for one in learned):
        of = [one for one in learned if one.variant.form.dtype == dtype]
        plain = [one for one in compared if is_plain(one.variant, dtype) and one.divergence.mean_kld is not None]
        if against.what == "source":
            besides += _on_the_curve(context, Rounding(context, logits, dtype), of, plain)
        else:
            besides += _among_its_own(context, logits, against, of, plain)
    whole = [beside for beside in besides if not beside.reason]
    gains = _gains(context, whole) if whole else {}
    return {beside.compared.variant.label: _facts(beside, gains) for beside in besides}


def _on_the_curve(
    context: Context, rounding: Rounding, learned: Sequence[_Compared], plain: Sequence[_Compared]
) -> Iterator[_Beside]:
    """Yield variants beside the source's own curve, of which what lacks is measured now."""
    sizes = [context.converted(one.variant).weight_bytes for one in learned]
    curve = rounding.measured(sizes, {one.label: _point(context, one) for one in plain})
    for one, weight_bytes in zip(learned, sizes, strict=True):
        labels = [width.label for width in curve.neighbours(weight_bytes)]
        points = [Point(curve.points[label], rounding.values(label)) for label in labels if label in curve.points]
        lacking = [label for label in labels if label not in curve.points]
        reason = f"plain rounding at {' and '.join(lacking)} gives no numbers" if lacking else ""
        yield _Beside(one, weight_bytes, points, curve.measured, reason)


def _among_its_own(
    context: Context, logits: SourceLogits, against: Against, learned: Sequence[_Compared], plain: Sequence[_Compared]
) -> Iterator[_Beside]:
    """Yield variants beside plain ones of the recipe: the source itself does not fit this machine.

    Only what lies between two of them is known; the one that stands for the source is at no distance from itself.
    """
    dtype = learned[0].variant.form.dtype
    others = [v for v in context.recipe.variants if is_plain(v, dtype) and context.work.passed(v.label, "convert")]
    own = {v.quantizer.label(v.form): v for v in others if v.label != against.label}
    converted = {label: context.converted(variant) for label, variant in own.items()}
    sizes = sorted((of.weight_bytes, label, of.bits_per_weight) for label, of in converted.items())
    curve = RoundingCurve([Width(label, weight_bytes, bits) for weight_bytes, label, bits in sizes])
    known = {one.label: one for one in plain}
    for one in learned:
        weight_bytes = context.converted(one.variant).weight_bytes
        around = curve.neighbours(weight_bytes)
        if not curve.surrounds(weight_bytes):
            yield _Beside(
                one, weight_bytes, reason=f"{not_here(context)}, and no plain variants of the recipe surround it"
            )
            continue
        for width in around:
            if width.label not in known:
                known[width.label] = _compare(context, logits, own[width.label])
        points = [_point(context, known[width.label]) for width in around]
        yield _Beside(one, weight_bytes, points, [point.measured for point in points])


def _compare(context: Context, logits: SourceLogits, variant: Variant) -> _Compared:
    """Compare a plain variant once more, for its values by position."""
    values = positions_path(context, variant)
    order = {"label": variant.label, "store": str(logits.store), "positions": str(values)}
    result = run_job(job_of(context, variant, "compare", order), context.console.progress)
    return _Compared(variant, from_json(Divergence, rounded(result)), values)


def _point(context: Context, one: _Compared) -> Point:
    converted, divergence = context.converted(one.variant), one.divergence
    mean, same = divergence.mean_kld or 0.0, divergence.same_first_choice or 0.0
    measured = RoundingPoint(one.label, converted.weight_bytes, converted.bits_per_weight, mean, same)
    return Point(measured, one.values)


def _gains(context: Context, besides: Sequence[_Beside]) -> Mapping[str, Gain | None]:
    """Let the engine compare them, position by position."""
    orders = {"orders": [to_json(beside.order()) for beside in besides]}
    job = Job("gains", orders, context.work.source / "gains.log", bounds(context), context.children)
    return from_json(Gains, rounded(run_job(job, context.console.progress))).gains


def _facts(beside: _Beside, gains: Mapping[str, Gain | None]) -> EarnedFacts:
    one, sizes = beside.compared, [point.measured.weight_bytes for point in beside.neighbours]
    beyond = ""
    if sizes and not min(sizes) <= beside.weight_bytes <= max(sizes):
        beyond = "narrower" if beside.weight_bytes < min(sizes) else "wider"
    return EarnedFacts(
        gains.get(one.variant.label),
        [point.measured.label for point in beside.neighbours],
        beyond,
        beside.reason or "a number of plain rounding is none",
        broken=one.divergence.mean_kld is None,
    )
