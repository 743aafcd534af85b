"""card: the evidence of a variant, and the card that is made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from mlx_publish import __version__
from mlx_publish.card.render import load_as, render, render_chart
from mlx_publish.card.templates import templates_of
from mlx_publish.card.words import short_against
from mlx_publish.checks.base import run_checks
from mlx_publish.checks.card import CARD, Bound
from mlx_publish.evidence import SCHEMA, digest_of, json_text
from mlx_publish.recipe import Variant
from mlx_publish.report import Report
from mlx_publish.series import headline
from mlx_publish.stages.context import Context, Outcome, Stage
from mlx_publish.work import read_json, write_atomically

_TEMPLATES = files("mlx_publish").joinpath("templates/card")
MEASURED = ("smoke", "fidelity", "benchmark")


def inputs(context: Context, variant: Variant) -> Mapping[str, Any]:
    """All reports, the recipe's words, the template."""
    reports = {name: context.work.report(variant.label, name) for name in ("inspect", "convert", *MEASURED)}
    return {
        "reports": {name: report.chain.own for name, report in reports.items() if report},
        "ladder": digest_of(_ladder(context)),
        "recipe": context.recipe.digest_of("base_model", "card", "to"),
        "destination": load_as(context.recipe, variant),
        "templates": templates_of(context.recipe),
        "template": digest_of([path.read_text("utf-8") for path in sorted(_TEMPLATES.iterdir(), key=str)]),
        "generator": __version__,
    }


def complete(context: Context, variant: Variant) -> bool:
    """Tell whether card and evidence are the ones that the report names."""
    report = context.work.report(variant.label, "card")
    return report is not None and report.result.get("files") == _digests(context, variant)


def run(context: Context, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Write evidence.json, its copy in `model/`, and the card."""
    return {variant.label: _card(context, variant) for variant in variants}


def _card(context: Context, variant: Variant) -> Outcome:
    model = context.report(variant, "convert").result["model"]
    reports = {name: context.work.report(variant.label, name) for name in MEASURED}
    bound = Bound(model, {name: report for name, report in reports.items() if report})
    evidence = assemble(context, variant, bound)
    checks = run_checks(CARD, bound, context.recipe.accepted)
    text = json_text(evidence)
    write_atomically(context.work.variant(variant.label) / "evidence.json", text)
    write_atomically(context.work.model(variant.label) / "mlx-publish.json", text)
    write_atomically(context.work.model(variant.label) / "README.md", render(context.recipe, variant, evidence))
    chart = context.work.model(variant.label) / "ladder.svg"
    if drawn := render_chart(evidence):
        write_atomically(chart, drawn)
    else:
        chart.unlink(missing_ok=True)
    return Outcome(checks, {"evidence": digest_of(evidence), "files": _digests(context, variant)})


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
        "ladder": _ladder(context),
        "missing": {name: bound.why_missing(name) for name in MEASURED if name not in found},
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


def _ladder(context: Context) -> list[dict[str, Any]]:
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
    compared = bound.reports["fidelity"].result if bound.fits("fidelity") else {}
    timed = bound.reports["benchmark"].result if bound.fits("benchmark") else None
    memory = bound.reports["benchmark"].result.get("context") if bound.of_these_bytes("benchmark") else None
    return {
        "label": variant.label,
        "repo": context.recipe.destinations[variant.label].repo,
        "weight_bytes": model["weight_bytes"],
        "bits_per_weight": model["bits_per_weight"],
        "memory_bytes": memory["bytes"] if memory else None,
        "memory_tokens": memory["tokens"] if memory else None,
        "mean_kld": compared.get("mean_kld"),
        "mean_kld_error": compared.get("mean_kld_error"),
        "same_first_choice": compared.get("same_first_choice"),
        "against": short_against(compared) if compared else None,
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


def _digests(context: Context, variant: Variant) -> dict[str, str | None]:
    """Digests of what this stage writes; None for what is missing."""
    model = context.work.model(variant.label)
    texts = {name: model / name for name in ("README.md", "ladder.svg")}
    return {
        **{
            name: digest_of(path.read_text(encoding="utf-8")) if path.exists() else None for name, path in texts.items()
        },
        "mlx-publish.json": digest_of(read_json(model / "mlx-publish.json")),
        "evidence.json": digest_of(read_json(context.work.variant(variant.label) / "evidence.json")),
    }


STAGE = Stage("card", "convert", inputs, run, complete)
