"""What a run leaves for the jobs after it: outputs of the step, annotations and a summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlx_publish.github import output
from mlx_publish.recipe import Recipe, Variant
from mlx_publish.report import Report
from mlx_publish.work import Work

_WORST = ("error", "refused", "pass")


def write_outcome(work: Work, recipe: Recipe, variants: Sequence[Variant], stages: Sequence[str]) -> None:
    """Write outputs, one annotation for each failed check, and a table of all that is not simply good.

    Paths and names of several variants stand on a line each, in the recipe's order.
    """
    reports = {v.label: [r for stage in stages if (r := work.report(v.label, stage))] for v in variants}
    uploads = [report for label in reports for report in reports[label] if report.stage == "upload"]
    verdicts = {report.verdict for found in reports.values() for report in found}
    output.write({
        "verdict": next((verdict for verdict in _WORST if verdict in verdicts), "error"),
        "card": "\n".join(str(work.model(v.label) / "README.md") for v in variants if _has(reports[v.label], "card")),
        "evidence": "\n".join(
            str(work.variant(v.label) / "evidence.json") for v in variants if _has(reports[v.label], "card")
        ),
        "repo": "\n".join(report.result["repo"] for report in uploads if report.result.get("repo")),
        "commit": "\n".join(report.result["commit"] for report in uploads if report.result.get("commit")),
    })  # fmt: skip
    for label, found in reports.items():
        for report in found:
            for check in report.checks:
                if check.status == "fail":
                    output.annotate(
                        f"{recipe.name} {label}: {check.id}: {check.message} {check.remedy}",
                        recipe.place_of("source"),
                    )
    output.summarize("\n".join(_summary(recipe, reports)))


def _has(reports: Sequence[Report], stage: str) -> bool:
    return any(report.stage == stage and report.verdict == "pass" for report in reports)


def _summary(recipe: Recipe, reports: dict[str, list[Report]]) -> Iterator[str]:
    yield f"### mlx-publish: {output.cell(recipe.name)}\n"
    yield "| variant | stage | verdict | remarks |\n| --- | --- | --- | --- |"
    for label, found in reports.items():
        for report in found:
            remarks = [f"{c.status} {c.id}: {c.message}" for c in report.checks if c.status not in ("pass", "skip")]
            told = "<br>".join(map(output.cell, remarks))
            yield f"| {output.cell(label)} | {report.stage} | {report.verdict} | {told} |"
