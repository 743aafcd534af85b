"""The evidence of a variant: what the reports that lie in the work folder add up to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlx_publish import __version__
from mlx_publish.card.templates import templates_of
from mlx_publish.card.words import short_against
from mlx_publish.checks.card import Bound
from mlx_publish.checks.listed import COMPLETE
from mlx_publish.context import Context
from mlx_publish.evidence.digests import SCHEMA
from mlx_publish.evidence.report import Report
from mlx_publish.evidence.stages import MEASURED, TESTED
from mlx_publish.machine.series import headline
from mlx_publish.recipes.recipe import Variant


def bound_of(context: Context, variant: Variant) -> Bound:
    """The measurements of a variant, and the digest of the model that they have to be of."""
    model = context.report(variant, "convert").result["model"]
    reports = {name: context.work.report(variant.label, name) for name in MEASURED}
    return Bound(model, {name: report for name, report in reports.items() if report})


def assemble(context: Context, variant: Variant, bound: Bound) -> dict[str, Any]:
    """Add the reports up. A number that was measured on other bytes than these stays out."""
    inspected, converted = (context.report(variant, name) for name in ("inspect", "convert"))
    found = {name: report for name, report in bound.reports.items() if bound.fits(name)}
    destination = context.recipe.destinations[variant.label]
    return {
        "schema": SCHEMA,
        "generator": __version__,
        "recipe": context.recipe.name,
        "destination": {"name": destination.name, "repo": destination.repo},
        "templates": templates_of(context.recipe),
        "source": {key: value for key, value in inspected.result["source"].items() if key != "files"}
        | {"base_model": context.recipe.base_model, "pipeline_tag": inspected.result["card"]["pipeline_tag"]},
        "variant": _variant(variant),
        "licence": inspected.result["licence"],
        "language": inspected.result["card"]["language"],
        "config": inspected.result["config"],
        "proof": _proof(inspected.result["twin"]),
        "words": context.recipe.digest_of("card")["card"],
        "model": converted.result,
        "tools": converted.inputs["tools"],
        "smoke": _smoke(context, found.get("smoke")),
        "fidelity": dict(found["fidelity"].result) if "fidelity" in found else None,
        "benchmark": dict(found["benchmark"].result) if "benchmark" in found else None,
        "ladder": ladder_of(context),
        "missing": {name: bound.why_missing(name) for name in MEASURED if name not in found},
        **_untested(context, found),
        "checks": [
            {
                "stage": report.stage,
                "id": check.id,
                "status": check.status,
                "message": check.message,
                "accepted": check.details.get("accepted"),
            }
            for report in (inspected, converted, *found.values())
            for check in report.checks
        ],
    }


def ladder_of(context: Context) -> list[dict[str, Any]]:
    """All variants of the recipe that were converted and not refused, with what is known of each."""
    found = []
    for variant in context.recipe.variants:
        reports = {name: context.work.report(variant.label, name) for name in ("convert", *MEASURED)}
        converted = reports.pop("convert")
        if converted is None or any(report and report.verdict != "pass" for report in (converted, *reports.values())):
            continue
        bound = Bound(converted.result["model"], {name: report for name, report in reports.items() if report})
        found.append(_rung(context, variant, converted.result, bound))
    return found


def _rung(context: Context, variant: Variant, model: Mapping[str, Any], bound: Bound) -> dict[str, Any]:
    """What siblings are told apart by. Memory is computed: a speed too unsteady to be printed takes nothing from it."""
    compared = bound.reports["fidelity"].result if bound.fits("fidelity") else None
    timed = bound.reports["benchmark"].result if bound.fits("benchmark") else None
    memory = bound.reports["benchmark"].result.get("context") if bound.of_these_bytes("benchmark") else None
    repo = context.recipe.destinations[variant.label].repo
    return rung_of({"label": variant.label, "repo": repo}, model, compared, timed, memory)


def rung_of(
    named: Mapping[str, Any],
    model: Mapping[str, Any],
    compared: Mapping[str, Any] | None,
    timed: Mapping[str, Any] | None,
    memory: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What stands in the table of all variants of one of them, from its files and what was measured of it."""
    told = compared or {}
    return {
        **named,
        "weight_bytes": model["weight_bytes"],
        "bits_per_weight": model["bits_per_weight"],
        "memory_bytes": memory["bytes"] if memory else None,
        "memory_tokens": memory["tokens"] if memory else None,
        "mean_kld": told.get("mean_kld"),
        "mean_kld_error": told.get("mean_kld_error"),
        "same_first_choice": told.get("same_first_choice"),
        "against": short_against(told) if told else None,
        **_speed(timed),
    }


def _speed(timed: Mapping[str, Any] | None) -> dict[str, Any]:
    """The speed that stands where there is room for one, and what it was measured on."""
    if timed is None:
        return dict.fromkeys(("generation_tps", "prompt_tokens", "device", "chip"))
    length = headline(timed)
    return {
        "generation_tps": length["generation_tps"]["median"],
        "prompt_tokens": length["prompt_tokens"],
        "device": timed["device"],
        "chip": timed["machine"]["chip"],
    }


def _untested(context: Context, found: Mapping[str, Report]) -> dict[str, str]:
    """The reason for which the recipe lets it go without a test; nothing where it was tested, or may not go."""
    reason = context.recipe.accepted(COMPLETE)
    return {"untested": reason} if reason and not {*TESTED} <= {*found} else {}


def _variant(variant: Variant) -> dict[str, Any]:
    return {
        "label": variant.label,
        "quantized": variant.quantized,
        "bits": variant.q_bits,
        "group_size": variant.q_group_size,
        "mode": variant.q_mode if variant.quantized else None,
        "mixed": variant.mixed,
        "dtype": variant.dtype,
    }


def _proof(twin: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """What the twin shows; where mlx-lm could not read it and that was accepted, nothing was compared."""
    return twin if twin and twin["texts"] else None


def _smoke(context: Context, report: Report | None) -> dict[str, Any] | None:
    if report is None:
        return None
    asked = context.recipe.spec.smoke
    return {**report.result, "asked": {"system": asked.system, "prompt": asked.prompt}}
