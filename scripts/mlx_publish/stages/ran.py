"""What a stage gave for each variant: written as reports, and printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mlx_publish.context import Context, Later, Outcome, Unwritten
from mlx_publish.errors import Bug
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.report import Finding, Report, Verdict, verdict_of
from mlx_publish.stages.stage import Stage
from mlx_publish.text.console import Level
from mlx_publish.text.harmless import plain


def found(inputs: Mapping[str, object]) -> dict[str, object]:
    """Return inputs of which all are known. Raises what finding one raises."""
    return {key: value.find() if isinstance(value, Later) else value for key, value in inputs.items()}


@dataclass(frozen=True)
class Ran:
    """A stage that has run for some variants, by their labels, and the seconds that it took."""

    context: Context
    stage: Stage
    inputs: Mapping[str, Mapping[str, object]]
    outcomes: Mapping[str, Outcome]
    seconds: float

    def write(self) -> Mapping[str, Report]:
        """Write and print the reports, and return them.

        Where they lack something they wait for it; only a console that prints every finding waits as well.
        """
        if all(outcome.whole is None for outcome in self.outcomes.values()):
            self.context.settle()
            return self._written(prints=True)
        prints_all = self.context.console.folds or self.context.console.level is Level.VERBOSE
        reports = self._reports(self.inputs)
        if not prints_all:
            self._print(reports)
        waiting = Unwritten(self.stage.name, reports, lambda: self._whole()._written(prints=prints_all))  # noqa: SLF001
        self.context.unwritten.append(waiting)
        return reports

    def _whole(self) -> Ran:
        outcomes = {label: outcome.whole() if outcome.whole else outcome for label, outcome in self.outcomes.items()}
        return replace(self, outcomes=outcomes)

    def _written(self, *, prints: bool) -> Mapping[str, Report]:
        reports = self._reports({label: found(self.inputs[label]) for label in self.outcomes})
        for label, report in reports.items():
            if self.context.dry_run and self.stage.traits.publishes:
                self.context.once("planned", dict[str, Report])[label] = report
            else:
                self.context.work.write_report(label, report)
        if prints:
            self._print(reports)
        return reports

    def _reports(self, inputs: Mapping[str, Mapping[str, object]]) -> Mapping[str, Report]:
        reports = {}
        for label, outcome in self.outcomes.items():
            if not outcome.checks:
                raise Bug(f"{self.stage.name} ran no checks")
            result, verdict = to_json(outcome.result), verdict_of(outcome.checks)
            reports[label] = Report(self.stage.name, inputs[label], outcome.checks, result, verdict)
        return reports

    def _print(self, reports: Mapping[str, Report]) -> None:
        (_fold if self.context.console.folds else _show)(self.context, reports, self.seconds)


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
