"""fidelity and benchmark: how much the converted model still is its source, and how fast it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.measured import BENCHMARK, FIDELITY
from mlx_publish.engine.child import Job, run_job, run_jobs, side_by_side
from mlx_publish.engine.machine import machine
from mlx_publish.engine.process import fast_blas
from mlx_publish.engine.support import versions
from mlx_publish.evidence import digest_of, folder_digest
from mlx_publish.recipe import Variant
from mlx_publish.stages.context import Context, Outcome, Stage
from mlx_publish.stages.prepare import readable_source
from mlx_publish.stages.reference import TEXT, Reference

_FLOAT32 = 4  # bytes of a weight that the CPU computes with


def _inputs(context: Context, variant: Variant, section: str) -> dict[str, Any]:
    return {
        "model": folder_digest(context.work.digests(context.work.model(variant.label))),
        "recipe": context.recipe.digest_of(section, "accept"),
        "tools": versions(),
    }


def fidelity_inputs(context: Context, variant: Variant) -> Mapping[str, Any]:
    """The converted bytes, the source's, and the text."""
    return {
        **_inputs(context, variant, "fidelity"),
        "source": context.report(variant, "inspect").inputs["source"],
        "text": digest_of(TEXT.read_text(encoding="utf-8")),
    }


def benchmark_inputs(context: Context, variant: Variant) -> Mapping[str, Any]:
    """The converted bytes and the machine."""
    return {**_inputs(context, variant, "benchmark"), "machine": machine()}


def run_fidelity(context: Context, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Compare each variant with the source, which is read once for all of them."""
    reference = Reference(context)
    source = reference.known()
    if source is None:
        with readable_source(context) as folder:
            order = {"source": str(folder), **reference.order()}
            source = run_job(Job("reference", order, context.work.source / "reference.log"), context.console.progress)
        reference.keep(source)
    jobs = [_job(context, v, "compare", {"label": v.label, "store": str(reference.store)}) for v in variants]
    # A fast BLAS uses all cores for one model already; MLX's own quantized kernels use one.
    at_once = 1 if fast_blas() else _at_once(context, variants)
    found = run_jobs(jobs, context.console.progress, at_once=at_once)
    for result in found:
        result["source_computed_in"] = source["computed_in"]
    return _outcomes(context, variants, [_rounded(result) for result in found], FIDELITY)


def run_benchmark(context: Context, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Measure one variant after the other, so that none disturbs another."""
    asked = {"text": TEXT.read_text(encoding="utf-8"), **context.recipe.spec.benchmark.model_dump()}
    found = []
    for variant in variants:
        result = run_job(_job(context, variant, "benchmark", asked), context.console.progress)
        found.append({**result, "machine": machine()})
    return _outcomes(context, variants, found, BENCHMARK)


def _job(context: Context, variant: Variant, op: str, arguments: Mapping[str, Any]) -> Job:
    folder = context.work.model(variant.label)
    log = context.work.variant(variant.label) / f"{op}.log"
    return Job(op, {"folder": str(folder), **arguments}, log)


def _at_once(context: Context, variants: Sequence[Variant]) -> int:
    largest = max(context.report(v, "convert").result["parameters"] for v in variants)
    return side_by_side(len(variants), _FLOAT32 * largest)


def _outcomes(
    context: Context, variants: Sequence[Variant], found: Sequence[dict[str, Any]], checks: Any
) -> dict[str, Outcome]:
    return {
        variant.label: Outcome(run_checks(checks, result, context.recipe.accepted), result)
        for variant, result in zip(variants, found, strict=True)
    }


def _rounded(result: dict[str, Any]) -> dict[str, Any]:
    """Six digits are more than the text can tell apart; JSON has no NaN, so it becomes null."""
    return {key: _number(value) if isinstance(value, float) else value for key, value in result.items()}


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


FIDELITY_STAGE = Stage("fidelity", "convert", fidelity_inputs, run_fidelity)
BENCHMARK_STAGE = Stage("benchmark", "convert", benchmark_inputs, run_benchmark)
