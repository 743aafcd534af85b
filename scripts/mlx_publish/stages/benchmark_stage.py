"""benchmark: how fast each variant is on this machine, and whether that can be published."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mlx_publish.checks.base import run_checks
from mlx_publish.checks.speed import BENCHMARK, Repeated, SpeedFacts
from mlx_publish.children.jobs import run_job
from mlx_publish.context import Context, Outcome
from mlx_publish.evidence import stages
from mlx_publish.evidence.records import from_json, to_json
from mlx_publish.evidence.speed import LeftOut, Speed
from mlx_publish.machine.described import machine
from mlx_publish.machine.quiet import PAUSE, stays_slow, wait_until_quiet
from mlx_publish.machine.snapshot import State
from mlx_publish.machine.state import disturbances, state
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.bounds import job_of, measured_inputs
from mlx_publish.source.logits import joined
from mlx_publish.source.pictured import pictures_digest, sees
from mlx_publish.source.resolve import metadata_of
from mlx_publish.stages.stage import Stage

LONGEST_WAIT = 60.0
"""Seconds to wait for a quiet machine before an unsteady speed is measured once more."""


def inputs(context: Context, variant: Variant) -> Mapping[str, object]:
    """Return the converted bytes and the machine."""
    shown = {"pictures": pictures_digest()} if sees(context) else {}
    return {**measured_inputs(context, variant, "benchmark"), "machine": machine(), **shown}


def run(context: Context, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Measure one variant after the other, so that none disturbs another; what one left is what the next one finds."""
    outcomes, before = {}, state()
    for variant in variants:
        outcomes[variant.label], before = _measured(context, variant, before)
    return outcomes


@dataclass(frozen=True)
class Series:
    """One measurement of a variant, and how the machine was before and after it."""

    facts: SpeedFacts
    before: State
    after: State

    @property
    def state(self) -> Mapping[str, object]:
        """The two states as plain data."""
        return {"before": to_json(self.before), "after": to_json(self.after)}

    @property
    def worth_repeating(self) -> bool:
        """Whether it is unsteady, and nothing else would keep a second one from being published."""
        lasting = (*self.facts.wrong_device(), *self.facts.too_few())
        return self.facts.unsteadiness > 0 and not lasting and not (stays_slow(self.before) or stays_slow(self.after))

    def better(self, other: Series) -> bool:
        """Return whether it is rather to be published than another one."""
        mine, others = self.facts, other.facts
        return (bool(mine.objections()), mine.unsteadiness) < (bool(others.objections()), others.unsteadiness)


def _measured(context: Context, variant: Variant, before: State) -> tuple[Outcome, State]:
    """Return the outcome for a variant, and how the machine was when it was measured last."""
    start = time.monotonic()
    taken = first = _series(context, variant, context.recipe.spec.benchmark.seconds, before)
    more, after = dict[str, object](), first.after
    if first.worth_repeating:
        second, waited = _second(context, variant, time.monotonic() - start)
        if second is not None:
            after = second.after
            number, taken, other = (1, second, first) if second.better(first) else (2, first, second)
            repeated = Repeated(number, other.facts.unsteadiness, waited)
            taken = replace(taken, facts=replace(taken.facts, repeated=repeated))
            more = {"other_series": _told(other, number, waited)}
    facts, limit = taken.facts, metadata_of(context).config.context
    weights = context.converted(variant).weight_bytes
    cache = facts.speed.cache.bytes_at(limit, dtype=variant.form.dtype) if limit else None
    report = {
        **to_json(facts.published),
        "machine": machine(),
        "state": taken.state,
        "context": {"tokens": limit, "bytes": weights + cache} if cache is not None else None,
        "not_measured": facts.withheld or None,
        **more,
    }
    return Outcome(run_checks(BENCHMARK, facts, context.recipe.accepted), report), after


def _second(context: Context, variant: Variant, took: float) -> tuple[Series | None, float]:
    """Return a second series, after a wait for a quiet machine, and the seconds waited; none without time for it.

    Both of them and the wait take no longer than the recipe gives to the benchmark.
    """
    spare = context.recipe.spec.benchmark.seconds - 2 * took
    if spare < PAUSE:
        return None, 0.0
    context.console.progress("too unsteady: waiting for a quiet machine, then measuring once more")
    waited = wait_until_quiet(min(LONGEST_WAIT, spare), state)
    return _series(context, variant, int(context.recipe.spec.benchmark.seconds - took - waited), state()), waited


def _told(series: Series, number: int, waited: float) -> Mapping[str, object]:
    """Return what the report keeps of the series that was not taken."""
    return {
        "number": number,
        "waited_s": waited,
        "not_measured": series.facts.withheld,
        "lengths": to_json(series.facts.speed.lengths),
        "state": series.state,
    }


def _series(context: Context, variant: Variant, seconds: int, before: State) -> Series:
    """Measure once, within so many seconds."""
    asked = context.recipe.spec.benchmark
    limit = metadata_of(context).config.context
    fitting = [n for n in asked.prompt_tokens if limit is None or n + asked.generation_tokens <= limit]
    order = {
        "text": joined()["prose"],
        "prompt_tokens": fitting or asked.prompt_tokens[:1],
        "generation_tokens": asked.generation_tokens,
        "trials": asked.trials,
        "seconds": seconds,
        **({"picture": True} if sees(context) else {}),
    }
    speed = from_json(Speed, run_job(job_of(context, variant, "benchmark", order), context.console.progress))
    after = state()
    too_long = [LeftOut(n, "the model's context is shorter") for n in asked.prompt_tokens if n not in fitting]
    speed = replace(speed, left_out=[*speed.left_out, *too_long])
    disturbed = disturbances(before, after)
    return Series(SpeedFacts(speed, asked, disturbed.refusals, disturbed.remarks, platform.system()), before, after)


STAGE = Stage(stages.BENCHMARK, inputs, run)
