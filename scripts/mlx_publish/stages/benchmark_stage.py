"""benchmark: how fast each variant is on this machine, and whether that deserves to be printed."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from typing import Any

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.speed import BENCHMARK, SpeedFacts
from mlx_publish.children.jobs import run_job
from mlx_publish.context import Context, Outcome
from mlx_publish.evidence import stages
from mlx_publish.machine.described import machine
from mlx_publish.machine.state import disturbances, state
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.bounds import job_of, measured_inputs
from mlx_publish.source.logits import texts
from mlx_publish.source.resolve import metadata_of
from mlx_publish.stages.stage import Stage


def inputs(context: Context, variant: Variant) -> Mapping[str, Any]:
    """The converted bytes and the machine."""
    return {**measured_inputs(context, variant, "benchmark"), "machine": machine()}


def run(context: Context, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Measure one variant after the other, so that none disturbs another."""
    return {variant.label: _measured(context, variant) for variant in variants}


def _measured(context: Context, variant: Variant) -> Outcome:
    asked = context.recipe.spec.benchmark
    limit = metadata_of(context).config.context
    fitting = [n for n in asked.prompt_tokens if limit is None or n + asked.generation_tokens <= limit]
    order = {
        "text": texts()["prose"], "prompt_tokens": fitting or asked.prompt_tokens[:1],
        "generation_tokens": asked.generation_tokens, "trials": asked.trials, "seconds": asked.seconds,
    }  # fmt: skip
    before = state()
    result = run_job(job_of(context, variant, "benchmark", order), context.console.progress)
    after = state()
    result["left_out"] += [
        {"prompt_tokens": n, "why": "the model's context is shorter"} for n in asked.prompt_tokens if n not in fitting
    ]
    result |= {"machine": machine(), "state": {"before": before, "after": after}}
    result["context"] = _at_context(context, variant, result["cache"], limit)
    found = disturbances(before, after)
    facts = SpeedFacts(result, asked, tuple(found.refusals), tuple(found.remarks), platform.system())
    checks = run_checks(BENCHMARK, facts, context.recipe.accepted)
    result["not_measured"] = "; ".join(facts.objections()) or None
    return Outcome(checks, result)


def _at_context(context: Context, variant: Variant, cache: Mapping[str, int], tokens: int | None) -> Any:
    """Weights and cache, in bytes, at the context that the source states; None where it states none."""
    if not tokens:
        return None
    window = min(tokens, cache["window"]) * cache["window_bytes_per_token"]
    weights = int(context.report(variant, "convert").result["weight_bytes"])
    return {"tokens": tokens, "bytes": weights + cache["bytes_per_token"] * tokens + window}


STAGE = Stage(stages.BENCHMARK, inputs, run)
