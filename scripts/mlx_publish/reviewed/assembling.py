"""The evidence of a variant: the sum of the reports in the work folder."""

from __future__ import annotations

from collections.abc import Mapping

from mlx_publish import __version__
from mlx_publish.card.templates import templates_of
from mlx_publish.card.words import short_against
from mlx_publish.checks.card import Bound
from mlx_publish.checks.listed import COMPLETE
from mlx_publish.context import Context
from mlx_publish.errors import Bug
from mlx_publish.evidence.digests import SCHEMA, read_back
from mlx_publish.evidence.evidence import Evidence, ModelSpec, NotEvidence
from mlx_publish.evidence.measurements import FidelitySpec, Memory, SpeedSpec
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.evidence.report import Report
from mlx_publish.evidence.speed import CacheSize
from mlx_publish.evidence.stages import MEASURED, TESTED
from mlx_publish.model.sampling import recommended_sampling
from mlx_publish.recipes.recipe import SmokeTest, Variant
from mlx_publish.text import kit

SHORT_CONTEXT = 8192
_OWN = ("quantization", "drafter")
"""Keys of `convert`'s result that stand for themselves in evidence."""


def bound_of(context: Context, variant: Variant) -> Bound:
    """Return the measurements of a variant, and the digest of the model that they have to be of."""
    model = context.converted(variant).model
    reports = {name: context.work.report(variant.label, name) for name in MEASURED}
    return Bound(model, {name: report for name, report in reports.items() if report})


def assemble(context: Context, variant: Variant, bound: Bound) -> Evidence:
    """Return the evidence that the reports add up to, without numbers that were measured on other bytes than these."""
    inspected, converted = context.inspected(variant), context.report(variant, "convert")
    measured = {name: report for name, report in bound.reports.items() if bound.fits(name)}
    destination = context.recipe.destinations[variant.label]
    smoke, asked = measured.get("smoke"), context.recipe.spec.smoke
    untested = None if {*TESTED} <= {*measured} else context.recipe.accepted(COMPLETE)
    sampling = recommended_sampling(context.work.model(variant.label))
    data = {
        "schema": SCHEMA,
        "generator": __version__,
        "recipe": context.recipe.name,
        "destination": {"name": destination.name, "repo": destination.repo},
        "templates": templates_of(context.recipe),
        "source": {key: value for key, value in to_json(inspected.source).items() if key != "files"}
        | {"base_model": context.recipe.base_model, "pipeline_tag": inspected.card.pipeline_tag},
        **({"adapter": to_json(inspected.adapter)} if inspected.adapter else {}),
        "variant": {"label": variant.label, **variant.form.plain()},
        "licence": to_json(inspected.licence),
        "language": inspected.card.language,
        "config": inspected.config,
        # Where mlx-lm could not read the twin and the recipe accepts that, nothing was compared.
        "proof": to_json(inspected.twin) if inspected.twin and inspected.twin.texts else None,
        "words": context.recipe.digest_of("card")["card"],
        "model": {key: value for key, value in converted.result.items() if key not in _OWN},
        **({"quantization": converted.result["quantization"]} if "quantization" in converted.result else {}),
        **({"drafter": _drafter(converted, smoke)} if "drafter" in converted.result else {}),
        "tools": converted.inputs["tools"],
        "smoke": _smoke(smoke, asked) if smoke else None,
        "fidelity": measured["fidelity"].result if "fidelity" in measured else None,
        "benchmark": measured["benchmark"].result if "benchmark" in measured else None,
        "ladder": ladder_of(context),
        "missing": {name: bound.why_missing(name) for name in MEASURED if name not in measured},
        **({"sampling": sampling} if sampling else {}),
        "kit": {"address": kit.address()},
        **({"untested": untested} if untested else {}),
        "checks": [
            {
                "stage": report.stage,
                "id": check.id,
                "status": check.status,
                "message": check.message,
                "accepted": check.details.get("accepted"),
            }
            for report in (context.report(variant, "inspect"), converted, *measured.values())
            for check in report.checks
        ],
    }
    try:
        return Evidence.of(read_back(data))
    except NotEvidence as error:
        raise Bug(f"the evidence of {variant.label} is not whole: {error.faults[0]}") from error


def _smoke(smoke: Report, asked: SmokeTest) -> dict[str, object]:
    result = {key: value for key, value in smoke.result.items() if key not in _OWN}
    return {**result, "asked": {"system": asked.system, "prompt": asked.prompt}}


def _drafter(converted: Report, smoke: Report | None) -> dict[str, object]:
    """Return what was made of multi-token heads, with the `proof` that it drafts where there is one."""
    proof = smoke.result.get("drafter") if smoke else None
    return {**converted.result["drafter"], **({"proof": proof} if proof else {})}


def ladder_of(context: Context) -> list[dict[str, object]]:
    """Return the rungs of all variants of the recipe that were converted and not refused."""
    ladder = []
    for variant in context.recipe.variants:
        reports = {name: context.work.report(variant.label, name) for name in ("convert", *MEASURED)}
        converted = reports.pop("convert")
        if converted is None or any(report and report.verdict != "pass" for report in (converted, *reports.values())):
            continue
        model = ModelSpec.model_validate(read_back(converted.result))
        bound = Bound(model.model, {name: report for name, report in reports.items() if report})
        ladder.append(_rung(context, variant, model, bound))
    return ladder


def _rung(context: Context, variant: Variant, model: ModelSpec, bound: Bound) -> dict[str, object]:
    """Return one variant's row. Memory is computed, so it stays where the speed was too unsteady to be printed."""
    fidelity = read_back(bound.reports["fidelity"].result) if bound.fits("fidelity") else None
    benchmark = read_back(bound.reports["benchmark"].result) if bound.of_these_bytes("benchmark") else {}
    memory = benchmark.get("context")
    measured = measured_of(
        model,
        FidelitySpec.model_validate(fidelity) if fidelity else None,
        SpeedSpec.model_validate(benchmark) if bound.fits("benchmark") else None,
        Memory.model_validate(memory) if memory else None,
        memory_8k(model, benchmark, variant.form.dtype),
    )
    if measured["backend"] is None:  # earlier versions do not know it
        del measured["backend"]
    return {"label": variant.label, "repo": context.recipe.destinations[variant.label].repo, **measured}


def memory_8k(model: ModelSpec, benchmark: Mapping[str, object], dtype: str | None) -> int | None:
    """Return weights and cache at 8,192 tokens; None where the context is shorter or the cache's size is not known."""
    context, cache = benchmark.get("context"), benchmark.get("cache")
    if isinstance(context, Mapping) and context.get("tokens", 0) <= SHORT_CONTEXT:
        return None
    try:
        taken = from_json(CacheSize, cache).bytes_at(SHORT_CONTEXT, dtype=dtype)
    except ValueError:
        return None
    return None if taken is None else model.weight_bytes + taken


def measured_of(
    model: ModelSpec,
    fidelity: FidelitySpec | None,
    benchmark: SpeedSpec | None,
    memory: Memory | None,
    short_memory: int | None,
) -> dict[str, object]:
    """Return a variant's part of the table of all variants, from its files and its measurements."""
    length = benchmark.headline if benchmark else None
    return {
        "weight_bytes": model.weight_bytes,
        "bits_per_weight": model.bits_per_weight,
        "memory_bytes": memory.bytes if memory else None,
        "memory_tokens": memory.tokens if memory else None,
        "mean_kld": fidelity.mean_kld if fidelity else None,
        "mean_kld_error": fidelity.mean_kld_error if fidelity else None,
        "same_first_choice": fidelity.same_first_choice if fidelity else None,
        "against": short_against(fidelity) if fidelity else None,
        "generation_tps": length.generation_tps.median if length else None,
        "prompt_tokens": length.prompt_tokens if length else None,
        "device": benchmark.device if benchmark else None,
        "chip": benchmark.chip if benchmark else None,
        "memory_8k_bytes": short_memory,
        "backend": "cuda" if benchmark and benchmark.kind == "CUDA" else None,
    }
