"""benchmark: how fast each variant is on this machine, and whether that deserves to be printed."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.speed import BENCHMARK, SpeedFacts
from mlx_publish.children.jobs import run_job
from mlx_publish.context import Context, Outcome
from mlx_publish.evidence import stages
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.evidence.speed import LeftOut, Speed
from mlx_publish.machine.described import machine
from mlx_publish.machine.state import disturbances, state
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.bounds import job_of, measured_inputs
from mlx_publish.source.logits import texts
from mlx_publish.source.resolve import metadata_of
from mlx_publish.stages.stage import Stage


def inputs(context: Context, variant: Variant) -> Mapping[str, object]:
    """Return the converted bytes and the machine."""
    return {**measured_inputs(context, variant, "benchmark"), "machine": machine()}


def run(context: Context, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Measure one variant after the other, so that none disturbs another."""
    return {variant.label: _measured(context, variant) for variant in variants}


def _measured(context: Context, variant: Variant) -> Outcome:
    asked = context.recipe.spec.benchmark
    limit = metadata_of(context).config.context
    fitting = [n for n in asked.prompt_tokens if limit is None or n + asked.generation_tokens <= limit]
    order = {
        "text": texts()["prose"],
        "prompt_tokens": fitting or asked.prompt_tokens[:1],
        "generation_tokens": asked.generation_tokens,
        "trials": asked.trials,
        "seconds": asked.seconds,
    }
    before = state()
    speed = from_json(Speed, run_job(job_of(context, variant, "benchmark", order), context.console.progress))
    after = state()
    too_long = [LeftOut(n, "the model's context is shorter") for n in asked.prompt_tokens if n not in fitting]
    speed = replace(speed, left_out=[*speed.left_out, *too_long])
    weights = context.converted(variant).weight_bytes
    cache = speed.cache.bytes_at(limit, dtype=variant.form.dtype) if limit else None
    disturbed = disturbances(before, after)
    facts = SpeedFacts(speed, asked, disturbed.refusals, disturbed.remarks, platform.system())
    report = {
        **to_json(speed),
        "machine": machine(),
        "state": {"before": to_json(before), "after": to_json(after)},
        "context": {"tokens": limit, "bytes": weights + cache} if cache is not None else None,
        "not_measured": "; ".join(facts.objections()) or None,
    }
    return Outcome(run_checks(BENCHMARK, facts, context.recipe.accepted), report)


STAGE = Stage(stages.BENCHMARK, inputs, run)
