"""The outcome of a run on GitHub: outputs of the step, annotations and a summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from mlx_publish.evidence.digests import PICTURE
from mlx_publish.evidence.quantization import PLAN_FILE
from mlx_publish.evidence.report import Report
from mlx_publish.evidence.results import PublishedRepo
from mlx_publish.github.deciding import place_of
from mlx_publish.github.links import absolute
from mlx_publish.github.overview import (
    Noted,
    all_findings,
    failures,
    heading,
    noted,
    overview,
    refusals,
    remarks,
    warnings,
)
from mlx_publish.github.preview import MOST, previews
from mlx_publish.github.runner import Runner
from mlx_publish.recipes.recipe import Recipe, Variant
from mlx_publish.text.markdown import cell, hub, link, table
from mlx_publish.work import Work

FILES = ("mlx-publish.json", "mlx-publish.sig", "ladder.svg", PICTURE, PLAN_FILE)
"""Files beside a card in `model/` that are handed on with it."""
_WORST = ("error", "refused", "pass")


def write_outcome(
    work: Work, recipe: Recipe, variants: Sequence[Variant], stages: Sequence[str], runner: Runner
) -> None:
    """Write the outputs, annotations of failures and warnings, and the summary.

    Outputs of several variants have a line for each, in the order of the recipe.
    """
    reports = {v.label: [r for stage in stages if (r := work.report(v.label, stage))] for v in variants}
    uploads = [report for label in reports for report in reports[label] if report.stage == "upload"]
    repos = [published for report in uploads if (published := report.read(PublishedRepo))]
    verdicts = {report.verdict for own in reports.values() for report in own}
    runner.write(
        {
            "verdict": next((verdict for verdict in _WORST if verdict in verdicts), "error"),
            "card": "\n".join(
                str(work.model(v.label) / "README.md") for v in variants if _has(reports[v.label], "card")
            ),
            "evidence": "\n".join(
                str(work.variant(v.label) / "evidence.json") for v in variants if _has(reports[v.label], "card")
            ),
            "provenance": "\n".join(
                str(work.provenance(v.label)) for v in variants if _has(reports[v.label], "upload")
            ),
            "repo": "\n".join(published.repo for published in repos),
            "commit": "\n".join(published.commit for published in repos),
        }
    )
    findings = noted(reports)
    _annotate(recipe, findings, runner)
    text = "\n".join(_summary(recipe, reports, findings, repos)) + "\n"
    paths = [] if uploads else [work.model(v.label) / "README.md" for v in variants if _has(reports[v.label], "card")]
    cards = {
        path.parent.parent.name: absolute(path.read_text(encoding="utf-8"), partial(_handed_on, runner))
        for path in paths
        if path.is_file()
    }
    runner.summarize(text + previews(cards, MOST - len(text.encode()) - 1))


def _handed_on(runner: Runner, file: str) -> str:
    """Return where a file beside a card can be had: among the artifacts of the run, if it travels with the card."""
    return runner.artifacts_address if file in FILES else ""


def _has(reports: Sequence[Report], stage: str) -> bool:
    return any(report.stage == stage and report.verdict == "pass" for report in reports)


def _annotate(recipe: Recipe, findings: Sequence[Noted], runner: Runner) -> None:
    """Annotate what was refused, then warnings, each once, at the line of the recipe that decides it."""
    for entry in (*failures(findings), *warnings(findings)):
        found, labels = entry.finding, ", ".join(entry.labels)
        refused = found.status == "fail"
        runner.annotate(
            f"{found.message}{f' Next: {found.remedy}' if found.remedy else ''}",
            place_of(recipe, entry.labels[0], found),
            title=f"{recipe.name} {labels}: {'refused by ' if refused else ''}{found.id}",
            level="error" if refused else "warning",
        )


def _summary(
    recipe: Recipe, reports: dict[str, list[Report]], findings: Sequence[Noted], repos: Sequence[PublishedRepo]
) -> Iterator[str]:
    yield f"### {cell(recipe.name)}: {heading(reports)}\n"
    yield overview(reports)
    yield from _receipts(repos)
    for title, lines in (
        ("Refused", list(refusals(findings))),
        ("Please review", list(remarks(reports, findings))),
    ):
        if lines:
            yield f"\n**{title}**\n"
            yield from lines
    if findings:
        yield f"\n<details><summary>All findings ({len(findings)})</summary>\n"
        yield all_findings(findings, len(reports))
        yield "\n</details>"


def _receipts(repos: Sequence[PublishedRepo]) -> Iterator[str]:
    """Yield the table of what was published where, a line for each variant."""
    if repos:
        headings = ("published", "commit", "tag", "files sent", "files removed")
        rows = [
            (
                link(published.repo, published.pull_request) if published.pull_request else hub(published.repo),
                hub(published.repo, published.commit[:12], f"/tree/{published.commit}"),
                cell(published.tag),
                len(published.sent),
                len(published.removed),
            )
            for published in repos
        ]
        yield "\n" + table(headings, rows, right=headings[3:])
