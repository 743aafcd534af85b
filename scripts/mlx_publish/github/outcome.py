"""The outcome of a run on GitHub: outputs of the step, annotations and a summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlx_publish.evidence.report import Report, unmeasured
from mlx_publish.evidence.results import PublishedRepo
from mlx_publish.github.preview import MOST, previews
from mlx_publish.github.runner import Runner
from mlx_publish.recipes.recipe import Recipe, Variant
from mlx_publish.text.markdown import Markdown, cell, hub, link, table
from mlx_publish.work import Work

_WORST = ("error", "refused", "pass")


def write_outcome(
    work: Work, recipe: Recipe, variants: Sequence[Variant], stages: Sequence[str], runner: Runner
) -> None:
    """Write outputs, one annotation for each failed check, and a table with all remarks.

    Paths and names of several variants take one line each, in the recipe's order.
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
    for label, own in reports.items():
        for report in own:
            for check in report.checks:
                if check.status == "fail":
                    runner.annotate(
                        f"{recipe.name} {label}: {check.id}: {check.message} {check.remedy}",
                        recipe.place_of("source"),
                    )
    text = "\n".join((*_summary(recipe, reports), *_receipts(repos))) + "\n"
    paths = [] if uploads else [work.model(v.label) / "README.md" for v in variants if _has(reports[v.label], "card")]
    cards = {path.parent.parent.name: path.read_text(encoding="utf-8") for path in paths if path.is_file()}
    runner.summarize(text + previews(cards, MOST - len(text.encode()) - 1))


def _has(reports: Sequence[Report], stage: str) -> bool:
    return any(report.stage == stage and report.verdict == "pass" for report in reports)


def _summary(recipe: Recipe, reports: dict[str, list[Report]]) -> Iterator[str]:
    yield f"### mlx-publish: {cell(recipe.name)}\n"
    listed = [(label, report) for label, own in reports.items() for report in own]
    rows = [(cell(label), report.stage, report.verdict, _remarks(report)) for label, report in listed]
    yield table(("variant", "stage", "verdict", "remarks"), rows)
    for label, own in reports.items():
        if why := unmeasured(own):
            yield f"\n{cell(label)}: {cell(why)}."


def _remarks(report: Report) -> Markdown:
    """Return the messages of a report that a reader of the summary should know."""
    checks = [check for check in report.checks if check.status not in ("pass", "skip") or check.details.get("told")]
    return Markdown("<br>".join(cell(f"{check.status} {check.id}: {check.message}") for check in checks))


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
