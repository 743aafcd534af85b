"""fidelity: how much each variant still is its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.fidelity import FIDELITY, FidelityFacts
from mlx_publish.checks.reference import NOT_ASKED, REFERENCE
from mlx_publish.children.environment import fast_blas
from mlx_publish.children.jobs import Job, run_job, run_jobs
from mlx_publish.evidence.digests import digest_of
from mlx_publish.recipes.recipe import Variant
from mlx_publish.stages.context import Context, Outcome, Stage
from mlx_publish.stages.measuring import at_once, bounds, job_of, measured_inputs, rounded, source_fits
from mlx_publish.stages.prepare import readable_source
from mlx_publish.stages.reference import Reference, texts
from mlx_publish.stages.reference_check import reference_facts, reference_inputs


def inputs(context: Context, variant: Variant) -> Mapping[str, Any]:
    """The converted bytes, those that they are compared with, and the text."""
    return {
        **measured_inputs(context, variant, "fidelity"),
        "source": context.report(variant, "inspect").inputs["source"],
        "against": None if source_fits(context) else _digest(context, _widest(context)),
        "text": digest_of(texts()),
        "reference": reference_inputs(context) if _asked(context) else None,
    }


def run(context: Context, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Compare each variant with the source, which is read once for all of them."""
    proof = reference_facts(context) if _asked(context) else NOT_ASKED
    found = _against_source(context, variants) if source_fits(context) else _against_widest(context, variants)
    checks = run_checks(REFERENCE, proof, context.recipe.accepted)
    return {
        label: Outcome((*one.checks, *checks), {**one.result, "reference": proof.result})
        for label, one in found.items()
    }


def _asked(context: Context) -> bool:
    return context.recipe.spec.fidelity.reference == "transformers"


def _against_source(context: Context, variants: Sequence[Variant]) -> dict[str, Outcome]:
    reference = Reference(context)
    source = reference.known()
    if source is None:
        with readable_source(context) as folder:
            order = {"source": str(folder), **reference.order()}
            source = run_job(
                Job("reference", order, context.work.source / "reference.log", bounds(context), context.children),
                context.console.progress,
            )
        reference.keep(source)
    return _compared(context, variants, reference, {**source, "against": {"what": "source"}})


def _against_widest(context: Context, variants: Sequence[Variant]) -> dict[str, Outcome]:
    """The source does not fit this machine: the variant with the most bits per weight stands for it."""
    widest = _widest(context)
    reference = Reference(context, _digest(context, widest))
    source = reference.known()
    if source is None:
        order = {"source": str(context.work.model(widest.label)), **reference.order()}
        source = run_job(
            Job("reference", order, context.work.source / "reference.log", bounds(context), context.children),
            context.console.progress,
        )
        reference.keep(source)
    bits = context.report(widest, "convert").result["bits_per_weight"]
    against = {"what": "variant", "label": widest.label, "bits_per_weight": bits}
    others = [variant for variant in variants if variant != widest]
    found = _compared(context, others, reference, {**source, "against": against}) if others else {}
    if widest in variants:
        reason = "the source is too large for this machine"
        if len(context.recipe.variants) > 1:
            reason += ", and this is the widest variant, with which the others are compared"
        found[widest.label] = _outcome(context, widest, {"not_measured": reason, "against": against})
    return found


def _compared(
    context: Context, variants: Sequence[Variant], reference: Reference, source: Mapping[str, Any]
) -> dict[str, Outcome]:
    jobs = [job_of(context, v, "compare", {"label": v.label, "store": str(reference.store)}) for v in variants]
    # A fast BLAS uses all cores for one model already; MLX's own quantized kernels use one.
    found = run_jobs(jobs, context.console.progress, at_once=1 if fast_blas() else at_once(context, variants))
    told = {
        "source_computed_in": source["computed_in"],
        "limited": source["limited"],
        "against": source["against"],
    }
    return {v.label: _outcome(context, v, {**one, **told}) for v, one in zip(variants, found, strict=True)}


def _outcome(context: Context, variant: Variant, result: dict[str, Any]) -> Outcome:
    result = rounded(result)
    facts = FidelityFacts(result, context.recipe.spec.fidelity, variant)
    return Outcome(run_checks(FIDELITY, facts, context.recipe.accepted), result)


def _widest(context: Context) -> Variant:
    """The variant of the recipe that was converted with the most bits per weight."""
    reports = [(variant, context.work.report(variant.label, "convert")) for variant in context.recipe.variants]
    made = [(r.result["bits_per_weight"], v) for v, r in reports if r is not None and r.verdict == "pass"]
    return max(made, key=lambda pair: pair[0])[1]


def _digest(context: Context, variant: Variant) -> str:
    digest: str = context.report(variant, "convert").result["model"]
    return digest


STAGE = Stage("fidelity", "convert", inputs, run)
