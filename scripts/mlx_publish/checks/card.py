"""Every number on a card was measured on the bytes beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlx_publish.checks.base import Check, Says, failed, passed, warned
from mlx_publish.evidence.report import Report
from mlx_publish.evidence.stages import MEASURED


@dataclass(frozen=True)
class Bound:
    """Reports of measurements, and the digest of the model that they have to be of."""

    model: str
    reports: Mapping[str, Report]

    def of_these_bytes(self, name: str) -> bool:
        """Return whether there is a measurement, and of this very model."""
        return name in self.reports and self.reports[name].inputs.get("model") == self.model

    def fits(self, name: str) -> bool:
        """Return whether it passed too, with numbers."""
        if not self.of_these_bytes(name):
            return False
        report = self.reports[name]
        return report.verdict == "pass" and not report.not_measured

    def withheld(self, name: str) -> str:
        """Return in short why these bytes were measured and the numbers are not published; empty for all else."""
        why = self.reports[name].not_measured.partition(":")[0] if self.of_these_bytes(name) else ""
        return why if why.startswith("measured") else ""

    def why_missing(self, name: str) -> str:
        """Finish the sentence 'It was not measured'; behind 'because' may stand why a measurement is not published."""
        report = self.reports.get(name)
        if report is None:
            return ""
        if report.verdict != "pass":
            return f", because the stage {name} was {report.verdict}"
        if report.not_measured:
            return f", because {report.not_measured}"
        return ", because the last measurement was of different bytes"


def _fits(bound: Bound) -> Says:
    stale = [name for name in bound.reports if not bound.of_these_bytes(name)]
    if stale:
        return failed(f"measured on different bytes: {', '.join(stale)}", f"Run 'mlx-publish {stale[0]}' again.")
    return passed(f"{len(bound.reports)} measurement(s), all of the model {bound.model[:12]}")


def _all(bound: Bound) -> Says:
    missing = [name for name in MEASURED if not bound.fits(name)]
    withheld = {name: why for name in missing if (why := bound.withheld(name))}
    unmeasured = [name for name in missing if name not in withheld]
    told = [f"{name}: {why}" for name, why in withheld.items()]
    if unmeasured:
        told.insert(0, f"not measured: {', '.join(unmeasured)}")
        return warned("; ".join(told), "Run these stages before you publish.")
    if told:
        return warned(
            "; ".join(told), "Repeat the benchmark stage with --force on a quiet machine, then render the card again."
        )
    return passed("smoke, fidelity and benchmark are present")


CARD: tuple[Check[Bound], ...] = (
    Check("numbers-bound", "The numbers belong to these bytes", "another model's scores", _fits, safety=True),
    Check("measured", "Every stage has run", "a card without numbers", _all),
)
