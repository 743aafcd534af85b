"""Run stages in order, skip what has not changed, write every report, decide the exit code."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence

from mlx_publish.context import Context, Outcome
from mlx_publish.errors import Bug, PublishError, Refused
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.report import Finding, Report, Verdict, verdict_of
from mlx_publish.evidence.results import Broken
from mlx_publish.recipes.recipe import Variant
from mlx_publish.stages.chained import follows_all, judge_chain
from mlx_publish.stages.repeated import say_again, why_again
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
    inputs = {v.label: dict(stage.inputs(context, v)) for v in variants}
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
    reports = {}
    for label in (v.label for v in pending):
        checks, result = outcomes[label].checks, to_json(outcomes[label].result)
        if not checks:
            raise Bug(f"{stage.name} ran no check")
        reports[label] = Report(stage.name, inputs[label], checks, result, verdict_of(checks))
    for label, report in reports.items():
        if context.dry_run and stage.traits.publishes:
            context.once("planned", dict[str, Report])[label] = report
        else:
            context.work.write_report(label, report)
    (_fold if context.console.folds else _show)(context, reports, time.monotonic() - start)
    return {**kept, **reports}


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
        for variant in variants:
            report = Report(stage.name, inputs[variant.label], (), to_json(Broken(str(error))), "error")
            with contextlib.suppress(OSError):
                context.work.write_report(variant.label, report)
        raise


def _show(context: Context, reports: Mapping[str, Report], seconds: float) -> None:
    """Print the findings below the heading of the stage, each with its variants, and how the stage ended for them."""
    console, labels = context.console, list(reports)
    groups = _groups(reports)
    shared = _shared(groups) if len(groups) > 1 else []
    console.findings(shared, ", ".join(labels))
    for checks, of in groups:
        console.findings(_without(checks, shared), ", ".join(of))
    ends: dict[tuple[Verdict, str], list[str]] = {}
    for label, report in reports.items():
        causes = ", ".join(check.id for check in report.checks if check.status == "fail")
        rest = console.rest(report.checks)
        words = "; ".join(word for word in (f"refused by {causes}" if causes else "", rest) if word)
        ends.setdefault((report.verdict, words or "passed"), []).append(label)
    for (verdict, words), of in ends.items():
        console.ended("pass" if verdict == "pass" else "fail", f"{', '.join(of)}: {words} ({seconds:.1f} s)")


def _fold(context: Context, reports: Mapping[str, Report], seconds: float) -> None:
    """Print all findings for a runner, which folds what passed: first what is true of all variants."""
    groups = _groups(reports)
    alone = len(groups) == 1
    shared = [] if alone else _shared(groups)
    context.console.findings(shared, ", ".join(reports))
    for checks, labels in groups:
        report, names = reports[labels[0]], ", ".join(labels)
        # The first failure stands in the first line.
        failure = next((finding.message for finding in checks if finding.status == "fail"), "")
        reason = f": {plain(' '.join(failure.split()))}" if failure else ""
        title = f"{context.recipe.name} · {names}: {report.verdict} ({seconds:.1f} s){reason}"
        with context.console.section(report.stage, title, folded=report.verdict == "pass"):
            context.console.findings(_without(checks, shared), names)


_Groups = list[tuple[tuple[Finding, ...], list[str]]]


def _groups(reports: Mapping[str, Report]) -> _Groups:
    """Return the findings with the variants that share all of them."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for label, report in reports.items():
        groups.setdefault(tuple(map(_read, report.checks)), []).append(label)
    return [(reports[labels[0]].checks, labels) for labels in groups.values()]


def _shared(groups: _Groups) -> list[Finding]:
    """Return the findings that all variants share."""
    read = [set(map(_read, checks)) for checks, _ in groups]
    return [finding for finding in groups[0][0] if all(_read(finding) in others for others in read)]


def _read(finding: Finding) -> tuple[str, ...]:
    """Return what is read of a finding: all but its details."""
    return finding.id, finding.status, finding.message, finding.remedy


def _without(checks: Sequence[Finding], shared: Sequence[Finding]) -> list[Finding]:
    known = set(map(_read, shared))
    return [finding for finding in checks if _read(finding) not in known]
