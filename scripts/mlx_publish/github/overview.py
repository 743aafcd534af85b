"""A run at one glance: a row for each variant, then what was refused, then warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlx_publish.evidence.figures import Figures
from mlx_publish.evidence.report import Finding, Report, unmeasured
from mlx_publish.text import numbers
from mlx_publish.text.markdown import Markdown, cell, code, table

Reports = Mapping[str, Sequence[Report]]
"""The reports of each variant by its label, in the order of the stages."""
_LISTED = 6
"""Warnings above the fold; all others are among the findings below."""
_LOSSY = "mean-kld"


@dataclass(frozen=True)
class Noted:
    """A finding with the stage that made it, and the variants that share it."""

    stage: str
    finding: Finding
    labels: tuple[str, ...]


def noted(reports: Reports) -> list[Noted]:
    """Return all findings in the order of the stages, each once for all variants that share it."""
    grouped: dict[tuple[str, str, str, str, str], tuple[Finding, list[str]]] = {}
    stages = dict.fromkeys(report.stage for own in reports.values() for report in own)
    for stage in stages:
        for label, own in reports.items():
            for finding in (finding for report in own if report.stage == stage for finding in report.checks):
                key = (stage, finding.id, finding.status, finding.message, finding.remedy)
                grouped.setdefault(key, (finding, []))[1].append(label)
    return [Noted(key[0], finding, tuple(labels)) for key, (finding, labels) in grouped.items()]


def failures(findings: Sequence[Noted]) -> list[Noted]:
    """Return what refuses a variant."""
    return [entry for entry in findings if entry.finding.status == "fail"]


def warnings(findings: Sequence[Noted]) -> list[Noted]:
    """Return what a person should look at, lossy variants first."""
    kept = [entry for entry in findings if entry.finding.status == "warn" or entry.finding.details.get("told")]
    return sorted(kept, key=lambda entry: entry.finding.id != _LOSSY)


def heading(reports: Reports) -> str:
    """Return the verdict of a run in some words: `2 of 4 variants refused`."""
    verdicts = [_verdict(own) for own in reports.values()]
    count = len(verdicts)
    broken, refused = verdicts.count("error"), verdicts.count("refused")
    if not count or not any(reports.values()):
        return "nothing ran"
    if broken:
        return f"stopped by an error in {broken} of {_variants(count)}"
    if refused:
        return f"{refused} of {_variants(count)} refused"
    published = all(own[-1].stage == "upload" for own in reports.values() if own)
    done = "published" if published else "passed"
    return f"all {count} variants {done}" if count > 1 else f"1 variant {done}"


def overview(reports: Reports) -> Markdown:
    """Return the table with a row for each variant; a column in which nothing is known is left out."""
    rows = [(cell(label), *_row(own)) for label, own in reports.items()]
    columns = ("variant", "verdict", "size", "mean KLD", "top-1 agreement", "tokens/s")
    kept = [at for at in range(len(columns)) if at < 2 or any(row[at] != _NOTHING for row in rows)]
    return table(
        [columns[at] for at in kept], ([row[at] for at in kept] for row in rows), right=("size", "top-1 agreement")
    )


def refusals(findings: Sequence[Noted]) -> Iterator[str]:
    """Yield cause and remedy of what was refused."""
    given: set[tuple[tuple[str, ...], str]] = set()
    for entry in failures(findings):
        remedy = "" if (entry.labels, entry.finding.remedy) in given else entry.finding.remedy
        given.add((entry.labels, remedy))
        then = f". **Next:** {cell(remedy)}" if remedy else ""
        yield f"- {_labels(entry)} ({entry.stage}, {code(entry.finding.id)}): {cell(entry.finding.message)}{then}"


def remarks(reports: Reports, findings: Sequence[Noted]) -> Iterator[str]:
    """Yield warnings about variants that go on, at most a few, and why one of those lacks a number."""
    going = {label for label, own in reports.items() if _verdict(own) == "pass"}
    found = [entry for entry in warnings(findings) if going & {*entry.labels}]
    for entry in found[:_LISTED]:
        yield f"- {_labels(entry)} ({entry.stage}, {code(entry.finding.id)}): {cell(entry.finding.message)}"
    if found[_LISTED:]:
        yield f"- {len(found) - _LISTED} more below, under *All findings*"
    for label, own in reports.items():
        if label in going and (why := unmeasured(own)):
            yield f"- **{cell(label)}**: {cell(why)}"


def all_findings(findings: Sequence[Noted], every: int) -> Markdown:
    """Return the table of all findings; `every` is the number of variants."""
    rows = [
        (
            entry.stage,
            code(entry.finding.id),
            "all" if len(entry.labels) == every else cell(", ".join(entry.labels)),
            entry.finding.status,
            cell(entry.finding.message),
        )
        for entry in findings
    ]
    return table(("stage", "check", "variants", "status", "finding"), rows)


_NOTHING = Markdown("—")


def _row(own: Sequence[Report]) -> tuple[Markdown, ...]:
    figures = Figures.of_reports(own)
    step, share, speed = figures.closeness, figures.same_first_choice, figures.generation_tps
    return (
        _verdict_cell(own),
        cell(numbers.size(figures.weight_bytes)) if figures.weight_bytes is not None else _NOTHING,
        kld_cell(figures),
        cell(numbers.percent(share)) if step and share is not None else _NOTHING,
        _unsteady(own) if speed is None else cell(f"{numbers.significant(speed)} on {figures.device}"),
    )


def kld_cell(figures: Figures) -> Markdown:
    """Return the mean KL divergence with its word, in bold where that warns."""
    step = figures.closeness
    if step is None or figures.mean_kld is None:
        return _NOTHING
    seen = "" if figures.pictures_kld is None else f"; {numbers.significant(figures.pictures_kld)} with pictures"
    word = f"**{step.word}**" if step.warns else step.word
    return Markdown(f"{cell(numbers.significant(figures.mean_kld))}, {word}{cell(seen)}")


def _unsteady(own: Sequence[Report]) -> Markdown:
    timed = next((report for report in own if report.stage == "benchmark" and report.not_measured), None)
    if timed is None:
        return _NOTHING
    unsteady = any(check.id == "steady" and check.status == "warn" for check in timed.checks)
    return Markdown("too unsteady to publish" if unsteady else "not published")


def _verdict(own: Sequence[Report]) -> str:
    return next((report.verdict for report in own if report.verdict != "pass"), "pass" if own else "")


def _verdict_cell(own: Sequence[Report]) -> Markdown:
    stopped = next((report for report in own if report.verdict != "pass"), None)
    if stopped is not None:
        return Markdown(f"**{'refused' if stopped.verdict == 'refused' else 'error'}** in {stopped.stage}")
    if not own:
        return _NOTHING
    count = sum(check.status == "warn" for report in own for check in report.checks)
    words = "published" if own[-1].stage == "upload" else "passed"
    return Markdown(f"{words}, {count} warning{'s' if count > 1 else ''}" if count else words)


def _labels(entry: Noted) -> str:
    return f"**{cell(', '.join(entry.labels))}**"


def _variants(count: int) -> str:
    return f"{count} variant{'s' if count > 1 else ''}"
