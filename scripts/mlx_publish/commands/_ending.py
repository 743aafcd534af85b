"""How a run ends: a verdict over its variants, what was made and where, and the command to type next."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.commands._arguments import RECIPE_FLAGS
from mlx_publish.evidence.closeness import closeness
from mlx_publish.evidence.report import Finding, Report, unmeasured
from mlx_publish.evidence.results import Fidelity, PublishedFolder, PublishedRepo
from mlx_publish.evidence.rounding import gain_in_words
from mlx_publish.text import kit
from mlx_publish.text.console import Console
from mlx_publish.text.harmless import one_line
from mlx_publish.text.numbers import significant
from mlx_publish.work import Work

_CAUSE, _REASON = 60, 100
"""Characters of a cause in the verdict, and of why there is no speed; the findings above have all of it."""
_HUB = "https://huggingface.co"


@dataclass(frozen=True)
class Ending:
    """What a run was asked for, and where its reports lie."""

    options: argparse.Namespace
    labels: Sequence[str]
    stages: Sequence[str]
    """Stages that were to run, in their order."""
    refused: Sequence[str]
    work: Work

    def show(self, console: Console) -> None:
        """Print the verdict, what was made, and what to do next."""
        far = ", ".join(self._far())
        status = "fail" if self.refused else "warn" if far else "pass"
        console.verdict("; ".join(part for part in (self.verdict, far) if part), status)
        for label in self.labels:
            for text in self._made(label):
                console.made(label, text)
        if self.refused:
            for text, who in self._remedies().items():
                console.next(text, ", ".join(who))
        for text in () if self.refused else self._commands():
            console.next(kit.typed(text))

    @property
    def verdict(self) -> str:
        """`all 2 variants passed`, or how many were refused, which ones, and why in short."""
        total, count = len(self.labels), len(self.refused)
        if not count:
            done = "published" if all(map(self._is_published, self.labels)) else "passed"
            return f"{self.labels[0]} {done}" if total == 1 else f"all {total} variants {done}"
        causes = [f"{label} ({cause_in_short(failure)})" if failure else label for label, failure in self._failures()]
        if total == 1:
            return f"refused: {causes[0]}"
        return f"{f'all {total}' if count == total else f'{count} of {total}'} refused: {', '.join(causes)}"

    def _is_published(self, label: str) -> bool:
        upload = next((report for report in self._reports(label) if report.stage == "upload"), None)
        return upload is not None and upload.verdict == "pass" and bool(_published(upload))

    def _failures(self) -> Iterator[tuple[str, Finding | None]]:
        for label in self.refused:
            findings = (finding for report in self._reports(label) for finding in report.checks)
            yield label, next((finding for finding in findings if finding.status == "fail"), None)

    def _far(self) -> Iterator[str]:
        """Yield the variants that go on and whose fidelity warns whoever decides, with the word for it."""
        for label in (label for label in self.labels if label not in self.refused):
            report = next((report for report in self._reports(label) if report.stage == "fidelity"), None)
            mean = fidelity.mean_kld if report and (fidelity := report.read(Fidelity)) else None
            if mean is not None and (step := closeness(mean)).warns:
                yield f"{label} is {step.word} (mean KLD {significant(mean)})"

    def _reports(self, label: str) -> list[Report]:
        return list(self.work.reports(label, self.stages))

    def _made(self, label: str) -> Iterator[str]:
        reports = {report.stage: report for report in self._reports(label)}
        if why := unmeasured(list(reports.values())):
            yield one_line(why, _REASON)
        fidelity = reports["fidelity"].read(Fidelity) if "fidelity" in reports else None
        if fidelity and fidelity.gain:
            yield gain_in_words(fidelity.gain)
        card = self.work.model(label) / "README.md"
        if "card" in reports and reports["card"].verdict == "pass" and card.exists():
            yield f"card {near(card)}"
        elif label in self.refused:
            yield f"reports {near(self.work.variant(label))}"
        elif "convert" in reports:
            yield f"model {near(self.work.model(label))}"
        upload = reports.get("upload")
        if upload and upload.verdict == "pass" and (place := _published(upload)):
            yield f"published {place}"

    def _remedies(self) -> dict[str, list[str]]:
        """Return what helps the refused variants, with their labels."""
        remedies: dict[str, list[str]] = {}
        for label, failure in self._failures():
            text = failure.remedy if failure and failure.remedy else f"read {near(self.work.variant(label))}"
            remedies.setdefault(one_line(text), []).append(label)
        return remedies

    def _commands(self) -> Iterator[str]:
        """Yield the commands that come next."""
        into, recipe = getattr(self.options, "into", None), self.options.recipe
        if "upload" in self.stages:
            yield from (f"mlx-publish verify {place}" for label in self.labels if (place := self._verifiable(label)))
        elif "card" not in self.stages:
            yield self._command("run")
        elif into and recipe:
            yield shlex.join(["mlx-publish", "review", "--recipe", str(recipe), "--cards", str(into)])
        else:
            yield self._command("upload")

    def _verifiable(self, label: str) -> str:
        report = self.work.report(label, "upload")
        if report and (repo := report.read(PublishedRepo)) and repo.tag:
            return shlex.quote(f"{repo.repo}@{repo.tag}")
        if report and (folder := report.read(PublishedFolder)):
            return shlex.quote(near(Path(folder.folder)))
        return ""

    def _command(self, name: str) -> str:
        """Return a command with the same recipe, variants and work folder."""
        given = {"recipe": self.options.recipe, **{flag: getattr(self.options, flag) for flag in RECIPE_FLAGS}}
        chosen = getattr(self.options, "variant", None)
        given["variant"] = ",".join(chosen) if isinstance(chosen, (list, tuple)) else chosen
        given["work"] = None if self.options.work == Path("work") else self.options.work
        words = [
            word
            for flag, value in given.items()
            if value is not None
            for word in (f"--{flag.replace('_', '-')}", str(value))
        ]
        return shlex.join(["mlx-publish", name, *words])


def cause_in_short(failure: Finding) -> str:
    """Return why a variant is refused in a few words: the detail `short`, or the beginning of the message."""
    text = str(failure.details.get("short") or failure.message).partition("; ")[0]
    return one_line(text if len(text) <= _CAUSE else f"{text[:_CAUSE].rpartition(' ')[0] or text[:_CAUSE]}…")


def near(path: Path) -> str:
    """Return a path as it is shortest from here."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)


def _published(report: Report) -> str:
    if folder := report.read(PublishedFolder):
        return near(Path(folder.folder))
    if repo := report.read(PublishedRepo):
        if repo.pull_request:
            return f"as a pull request: {repo.pull_request}"
        address = (os.environ.get("HF_ENDPOINT") or _HUB).rstrip("/")
        return f"{address}/{repo.repo} at {repo.tag}"
    return ""
