"""fidelity: how much each variant still is its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.earned import EARNED
from mlx_publish.checks.fidelity import FIDELITY, FidelityFacts
from mlx_publish.checks.pictured import PICTURED, PicturedFacts
from mlx_publish.checks.reference import NOT_ASKED, REFERENCE
from mlx_publish.children.jobs import run_jobs
from mlx_publish.context import Context, Outcome
from mlx_publish.evidence import stages
from mlx_publish.evidence.digests import digest_of
from mlx_publish.evidence.measured import Against, Divergence, SourceRead
from mlx_publish.evidence.records import from_json
from mlx_publish.evidence.report import Finding
from mlx_publish.evidence.results import Fidelity, NotCompared
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.bounds import at_once, job_of, measured_inputs, rounded, source_fits
from mlx_publish.source.gains import earned_by, learns, not_here, paired, positions_path, rounding_inputs, widest_facts
from mlx_publish.source.layout import prepared_source
from mlx_publish.source.logits import SourceLogits, texts
from mlx_publish.source.pictured import pictures_digest, sees
from mlx_publish.source.resolve import adapter_inputs
from mlx_publish.source.streamed import is_streamed, judge_streamed
from mlx_publish.source.transformers_check import reference_facts, reference_inputs
from mlx_publish.stages.stage import Stage

_Judged = tuple[tuple[Finding, ...], Fidelity | NotCompared]


def inputs(context: Context, variant: Variant) -> Mapping[str, object]:
    """Return the converted bytes, those that they are compared with, and the text."""
    return {
        **measured_inputs(context, variant, "fidelity"),
        "source": context.report(variant, "inspect").inputs["source"],
        "against": None if source_fits(context) else _digest(context, _widest(context)),
        "text": digest_of(texts()),
        **({"pictures": pictures_digest()} if sees(context) else {}),
        "reference": reference_inputs(context) if _asked(context) else None,
        **rounding_inputs(context, variant, fits=source_fits(context)),
        **adapter_inputs(context, variant),
    }


def run(context: Context, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Compare each variant with the source, which is read once for all of them."""
    if _asked(context) and is_streamed(context):
        judge_streamed(context, variants)
    reference = reference_facts(context) if _asked(context) else NOT_ASKED
    if source_fits(context):
        logits = SourceLogits(context)
        if (source := logits.known()) is None:
            # To load MLX takes seconds, which are over when the source has been read.
            context.children.start("compare", at_once(context, variants))
            with prepared_source(context) as prepared:
                source = logits.read(prepared.links, prepared.source, context.children)
        compared = _compared(context, variants, logits, source, Against("source"))
    else:
        compared = _against_widest(context, variants)
    checks = run_checks(REFERENCE, reference, context.recipe.accepted)
    return {
        label: Outcome((*findings, *checks), replace(result, reference=reference.proof))
        for label, (findings, result) in compared.items()
    }


def _asked(context: Context) -> bool:
    return context.recipe.spec.fidelity.reference == "transformers"


def _against_widest(context: Context, variants: Sequence[Variant]) -> dict[str, _Judged]:
    """Compare with the variant that has the most bits per weight: the source does not fit, or was streamed."""
    widest = _widest(context)
    logits = SourceLogits(context, _digest(context, widest))
    folder = context.work.model(widest.label)
    source = logits.known() or logits.read(folder, folder, context.children)
    bits = context.converted(widest).bits_per_weight
    against = Against("variant", widest.label, bits)
    others = [variant for variant in variants if variant != widest]
    compared = _compared(context, others, logits, source, against) if others else {}
    if widest in variants:
        reason = not_here(context)
        if len(context.recipe.variants) > 1:
            reason += ", and this is the widest variant, the one that the others are compared with"
        facts = FidelityFacts(
            None, against, context.recipe.spec.fidelity, widest, not_measured=reason, streamed=is_streamed(context)
        )
        checks = run_checks(FIDELITY, facts, context.recipe.accepted)
        if sees(context):
            unseen = PicturedFacts(None, None, context.recipe.spec.fidelity, widest, reason)
            checks += run_checks(PICTURED, unseen, context.recipe.accepted)
        checks += run_checks(EARNED, widest_facts(context), context.recipe.accepted) if learns(widest) else ()
        compared[widest.label] = (checks, NotCompared(reason, against))
    return compared


def _compared(
    context: Context, variants: Sequence[Variant], logits: SourceLogits, source: SourceRead, against: Against
) -> dict[str, _Judged]:
    raw = {v.label: positions_path(context, v) for v in variants}
    for path in raw.values():
        path.unlink(missing_ok=True)
    kept = variants if context.recipe.spec.fidelity.raw else paired(variants)
    jobs = [
        job_of(context, v, "compare", {"label": v.label, "store": str(logits.store), "positions": positions})
        for v in variants
        for positions in [str(raw[v.label]) if v in kept else ""]
    ]
    # Even of a fast BLAS only the products use all cores, so two models side by side take little longer than one.
    results = run_jobs(jobs, context.console.progress, at_once=at_once(context, variants))
    divergences = [from_json(Divergence, rounded(result)) for result in results]
    earned = earned_by(context, logits, against, [*zip(variants, divergences, strict=True)])

    compared, streamed, looking = dict[str, _Judged](), is_streamed(context), sees(context)
    for variant, divergence in zip(variants, divergences, strict=True):
        facts = FidelityFacts(
            divergence, against, context.recipe.spec.fidelity, variant, limited=source.limited, streamed=streamed
        )
        checks, gain = run_checks(FIDELITY, facts, context.recipe.accepted), None
        if looking:
            pictured = PicturedFacts(divergence, source, context.recipe.spec.fidelity, variant)
            checks += run_checks(PICTURED, pictured, context.recipe.accepted)
        if variant.label in earned:
            gain = earned[variant.label].gain
            checks += run_checks(EARNED, earned[variant.label], context.recipe.accepted)
        unread = source.pictures.reason if source.pictures else None
        fidelity = Fidelity(
            **vars(divergence),
            source_computed_in=source.computed_in,
            limited=source.limited,
            against=against,
            gain=gain,
            pictures_not_measured=divergence.pictures_fault or unread or None,
        )
        compared[variant.label] = (checks, fidelity)
    return compared


def _widest(context: Context) -> Variant:
    """Return the variant of the recipe that was converted with the most bits per weight."""
    reports = [(variant, context.work.report(variant.label, "convert")) for variant in context.recipe.variants]
    passed = [variant for variant, report in reports if report is not None and report.verdict == "pass"]
    return max(passed, key=lambda variant: context.converted(variant).bits_per_weight)


def _digest(context: Context, variant: Variant) -> str:
    return context.converted(variant).model


STAGE = Stage(stages.FIDELITY, inputs, run)
