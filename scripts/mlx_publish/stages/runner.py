"""Run stages in order, skip what has not changed, write every report, decide the exit code."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence

from mlx_publish.context import Context, Outcome
from mlx_publish.errors import Interrupted, PublishError, Refused
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.report import Finding, Report
from mlx_publish.evidence.results import Broken
from mlx_publish.recipes.recipe import Variant
from mlx_publish.stages.chained import follows_all, judge_chain
from mlx_publish.stages.ran import Ran, found
from mlx_publish.stages.repeated import say_again, why_again
from mlx_publish.stages.stage import Stage
from mlx_publish.work import machine


def chain(stages: Sequence[Stage], name: str) -> tuple[Stage, ...]:
    """Return a stage with all that it needs before it, first things first."""
    by_name = {stage.name: stage for stage in stages}
    way = [by_name[name]]
    while needed := way[0].traits.needs:
        way.insert(0, by_name[needed])
    return tuple(way)


def run_stages(context: Context, stages: Sequence[Stage]) -> tuple[str, ...]:
    """Run stages for all variants; a refused variant goes no further. Returns the labels of the refused.

    Nothing is uploaded while any variant is refused.
    """
    try:
        with _settled(context):
            return _run_in_order(context, stages)
    finally:
        context.children.end()
        context.ending.close()


@contextlib.contextmanager
def _settled(context: Context) -> Iterator[None]:
    """Write the reports that wait when a chain ends, also by an error; after an interrupt nobody waits."""
    try:
        yield
    except Interrupted:
        raise
    except Exception:
        with contextlib.suppress(OSError, PublishError):
            context.settle()
        raise
    context.settle()


def _run_in_order(context: Context, stages: Sequence[Stage]) -> tuple[str, ...]:
    judge_chain(context, stages)
    going, refused = list(context.variants), list[str]()
    for stage in stages:
        passed = stage.name not in context.force and all(context.work.passed(v.label, stage.name) for v in going)
        if stage.traits.publishes or not passed:
            stage.ahead(context)
    for stage in stages:
        if stage.traits.publishes and refused:
            context.console.ended("fail", f"nothing is published, because of {', '.join(refused)}")
            break
        reports = _run_stage(context, stage, going)
        lost = [v for v in going if reports[v.label].verdict != "pass"]
        refused += [v.label for v in lost]
        going = [v for v in going if v not in lost]
        if not going:
            break
    return tuple(refused)


def _run_stage(context: Context, stage: Stage, variants: Sequence[Variant]) -> dict[str, Report]:
    if not stage.early:
        context.settle()
    inputs = {v.label: dict(stage.inputs(context, v)) for v in variants}
    if stage.name not in context.force and any(context.work.report(v.label, stage.name) for v in variants):
        # They are compared with those of the report.
        context.settle()
        inputs = {label: found(given) for label, given in inputs.items()}
    kept = {v.label: report for v in variants if (report := _unchanged(context, stage, v, inputs[v.label]))}
    pending = [v for v in variants if v.label not in kept]
    for label in kept:
        context.console.heading(stage.name, f"{context.recipe.name} · {label}: unchanged")
    if not pending:
        return kept
    start = time.monotonic()
    again = {v.label: why_again(context, stage, v, inputs[v.label]) for v in pending}
    context.console.heading(stage.name, f"{context.recipe.name} · {', '.join(v.label for v in pending)}")
    say_again(context, stage, again)
    alone = machine(context.console.progress) if stage.traits.computes else contextlib.nullcontext()
    with _reported(context, stage, pending, inputs), alone, context.console.busy(stage.name):
        outcomes = _outcomes(context, stage, pending)
    outcomes = {v.label: outcomes[v.label] for v in pending}
    return {**kept, **Ran(context, stage, inputs, outcomes, time.monotonic() - start).write()}


def _unchanged(context: Context, stage: Stage, variant: Variant, inputs: Mapping[str, object]) -> Report | None:
    """Return the last report where nothing that it was made from has changed and what it made is whole."""
    report = context.work.report(variant.label, stage.name)
    if report is None or report.verdict != "pass" or stage.traits.publishes or stage.name in context.force:
        return None
    same = report.inputs == inputs and follows_all(context, variant, report)
    return report if same and stage.complete(context, variant) else None


def _outcomes(context: Context, stage: Stage, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """Return what the stage returns; where it cannot even read the model, the check that the error names refuses it."""
    try:
        return stage.run(context, variants)
    except Refused as error:
        finding = Finding(error.check, "fail", str(error), error.remedy)
        return {variant.label: Outcome((finding,)) for variant in variants}


@contextlib.contextmanager
def _reported(
    context: Context, stage: Stage, variants: Sequence[Variant], inputs: Mapping[str, Mapping[str, object]]
) -> Iterator[None]:
    """Write a report of what breaks; a full disk may forbid even that."""
    try:
        yield
    except PublishError as error:
        if isinstance(error, Interrupted) and context.unwritten:
            raise
        # Reports that wait are written first; where they cannot be, none follows them.
        with contextlib.suppress(OSError, PublishError):
            context.settle()
            for variant in variants:
                report = Report(stage.name, found(inputs[variant.label]), (), to_json(Broken(str(error))), "error")
                context.work.write_report(variant.label, report)
        raise
