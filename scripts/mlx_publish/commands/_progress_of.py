"""How far a variant has come, by the reports in its work folder alone."""

from __future__ import annotations

from dataclasses import dataclass

from mlx_publish.evidence.closeness import closeness
from mlx_publish.evidence.figures import pictures_kld
from mlx_publish.evidence.report import Report
from mlx_publish.evidence.results import Converted, Fidelity, PublishedFolder, PublishedRepo
from mlx_publish.evidence.stages import NAMES
from mlx_publish.work import Work


@dataclass(frozen=True)
class VariantState:
    """A variant in a work folder."""

    label: str
    stage: str
    """The last stage that passed; empty if none has."""
    verdict: str
    """`pass`, `refused`, `error`, or empty where nothing has run."""
    cause: str
    """What refused it, or broke: stage, check and message."""
    mean_kld: float | None
    weight_bytes: int | None
    published: str
    """Repo or folder; empty if it was not published."""
    tag: str
    """Empty for a folder and for a pull request on the Hub."""
    has_weights: bool
    pictures_kld: float | None = None
    """The same on text behind pictures, of a model that sees."""

    @property
    def closeness(self) -> str:
        """The word for its mean KLD; empty if that was not measured."""
        return "" if self.mean_kld is None else closeness(self.mean_kld).word


def state_of(work: Work, label: str) -> VariantState:
    """Read the reports of a variant."""
    reports = {name: report for name in NAMES if (report := work.report(label, name))}
    passed = [name for name, report in reports.items() if report.verdict == "pass"]
    stopped = next((report for report in reports.values() if report.verdict != "pass"), None)
    good = {name: reports[name] for name in passed}
    converted = good["convert"].read(Converted) if "convert" in good else None
    fidelity = good["fidelity"].read(Fidelity) if "fidelity" in good else None
    published, tag = _published(good.get("upload"))
    return VariantState(
        label,
        stage=passed[-1] if passed else "",
        verdict=stopped.verdict if stopped else "pass" if reports else "",
        cause=_cause(stopped) if stopped else "",
        mean_kld=fidelity.mean_kld if fidelity else None,
        weight_bytes=converted.weight_bytes if converted else None,
        published=published,
        tag=tag,
        has_weights=any(work.model(label).glob("*.safetensors")),
        pictures_kld=pictures_kld(good["fidelity"].result) if fidelity else None,
    )


def _published(report: Report | None) -> tuple[str, str]:
    if report is None:
        return "", ""
    if repo := report.read(PublishedRepo):
        return repo.pull_request or repo.repo, repo.tag
    folder = report.read(PublishedFolder)
    return (folder.folder, "") if folder else ("", "")


def _cause(report: Report) -> str:
    """Return why a stage did not pass: the first failed check, or what broke."""
    failed = next((check for check in report.checks if check.status == "fail"), None)
    if failed:
        return f"{report.stage}: {failed.id}: {failed.message}"
    return f"{report.stage}: {report.result.get('error') or 'stopped before its checks ran'}"
