"""Run stages in order, skip what has not changed, write every report, decide the exit code."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlx_publish.context import Context, Outcome
from mlx_publish.errors import Bug, PublishError, Refused
from mlx_publish.evidence.report import Finding, Report, verdict_of
from mlx_publish.recipes.recipe import Variant
from mlx_publish.stages.chained import follows_all, judge_chain
from mlx_publish.stages.stage import Stage
from mlx_publish.text.harmless import plain
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
        return _run_in_order(context, stages)
    finally:
        context.children.end()


def _run_in_order(context: Context, stages: Sequence[Stage]) -> tuple[str, ...]:
    judge_chain(context, stages)
    going, refused = list(context.variants), list[str]()
    for stage in stages:
        if stage.traits.publishes or any(stage.name in context.force or not _passed(context, stage, v) for v in going):
            stage.ahead(context)
    for stage in stages:
        if stage.traits.publishes and refused:
            context.console.say(f"nothing is published, because of {', '.join(refused)}")
            break
        reports = _run_stage(context, stage, going)
        lost = [v for v in going if reports[v.label].verdict != "pass"]
        refused += [v.label for v in lost]
        going = [v for v in going if v not in lost]
        if not going:
            break
    return tuple(refused)


def _run_stage(context: Context, stage: Stage, variants: Sequence[Variant]) -> dict[str, Report]:
    inputs = {v.label: dict(stage.inputs(context, v)) for v in variants}
    kept = {v.label: report for v in variants if (report := _unchanged(context, stage, v, inputs[v.label]))}
    pending = [v for v in variants if v.label not in kept]
    for label in kept:
        context.console.heading(stage.name, f"{context.recipe.name} · {label}: unchanged")
    if not pending:
        return kept
    start = time.monotonic()
    if stage.traits.needs and not stage.traits.publishes:
        names = ", ".join(v.label for v in pending)
        context.console.heading(stage.name, f"{context.recipe.name} · {names}")
    alone = machine(context.console.progress) if stage.traits.computes else contextlib.nullcontext()
    with _told(context, stage, pending, inputs), alone, context.console.busy(stage.name):
        outcomes = _outcomes(context, stage, pending)
    reports = {v.label: _report(stage, inputs[v.label], outcomes[v.label]) for v in pending}
    for label, report in reports.items():
        context.work.write_report(label, report)
    _show(context, reports, time.monotonic() - start)
    return {**kept, **reports}


def _passed(context: Context, stage: Stage, variant: Variant) -> bool:
    report = context.work.report(variant.label, stage.name)
    return report is not None and report.verdict == "pass"


def _unchanged(context: Context, stage: Stage, variant: Variant, inputs: Mapping[str, Any]) -> Report | None:
    """Return the last report where nothing that it was made from has changed and what it made is whole."""
    report = context.work.report(variant.label, stage.name)
    if report is None or report.verdict != "pass" or stage.traits.publishes or stage.name in context.force:
        return None
    same = report.inputs == inputs and follows_all(context, variant, report)
    return report if same and stage.complete(context, variant) else None


def _outcomes(context: Context, stage: Stage, variants: Sequence[Variant]) -> Mapping[str, Outcome]:
    """A model that cannot even be read is refused by the check that the error names."""
    try:
        return stage.run(context, variants)
    except Refused as error:
        finding = Finding(error.check, "fail", str(error), error.remedy)
        return {variant.label: Outcome((finding,), {}) for variant in variants}


@contextlib.contextmanager
def _told(
    context: Context, stage: Stage, variants: Sequence[Variant], inputs: Mapping[str, Mapping[str, Any]]
) -> Iterator[None]:
    """Leave a report of what broke; a full disk may forbid even that."""
    try:
        yield
    except PublishError as error:
        for variant in variants:
            report = Report(stage.name, inputs[variant.label], (), {"error": str(error)}, "error")
            with contextlib.suppress(OSError):
                context.work.write_report(variant.label, report)
        raise


def _report(stage: Stage, inputs: Mapping[str, Any], outcome: Outcome) -> Report:
    if not outcome.checks:
        raise Bug(f"{stage.name} ran no check")
    return Report(stage.name, inputs, outcome.checks, outcome.result, verdict_of(outcome.checks))


def _show(context: Context, reports: Mapping[str, Report], seconds: float) -> None:
    """Print the findings: first what is true of all variants, then what only some share."""
    groups: list[tuple[tuple[Finding, ...], list[str]]] = []
    for label, report in reports.items():
        labels = next((labels for checks, labels in groups if checks == report.checks), None)
        if labels is None:
            groups.append((report.checks, [label]))
        else:
            labels.append(label)
    shared = [finding for finding in groups[0][0] if all(finding in checks for checks, _ in groups)]
    alone = len(groups) == 1
    if not alone:
        _tell(context, shared)
    for checks, labels in groups:
        report = reports[labels[0]]
        names = f"{context.recipe.name} · {', '.join(labels)}"
        said = f"{names}: {report.verdict} ({seconds:.1f} s){_reason(checks)}"
        with context.console.section(report.stage, said, folded=report.verdict == "pass"):
            _tell(context, [finding for finding in checks if alone or finding not in shared])


def _tell(context: Context, findings: Sequence[Finding]) -> None:
    """What refuses comes first; otherwise the order is that of the checks."""
    for finding in sorted(findings, key=lambda finding: finding.status != "fail"):
        if "because_of" not in finding.details:
            context.console.finding(finding)
    if waiting := [finding for finding in findings if "because_of" in finding.details]:
        context.console.say(f"{len(waiting)} checks {waiting[0].message}")


def _reason(checks: Sequence[Finding]) -> str:
    """The first failure, for the first line; empty where nothing failed."""
    first = next((finding.message for finding in checks if finding.status == "fail"), "")
    return f": {plain(' '.join(first.split()))}" if first else ""
