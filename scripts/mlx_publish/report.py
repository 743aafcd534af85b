"""The envelope of every stage's report, and what a check finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SCHEMA = "mlx-publish/report/1"

Status = Literal["pass", "fixed", "warn", "fail", "skip"]
Verdict = Literal["pass", "refused", "error"]


@dataclass(frozen=True)
class Finding:
    """What one check says of one model.

    `message` gives what is so and why it matters, `remedy` the next step, `details` data for programs.
    """

    id: str
    status: Status
    message: str
    remedy: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What one stage found out about one variant, with the digests of what it looked at."""

    stage: str
    inputs: Mapping[str, Any]
    checks: tuple[Finding, ...]
    result: Mapping[str, Any]
    verdict: Verdict
    schema: str = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Plain data in the order of the contract."""
        return {
            "schema": self.schema,
            "stage": self.stage,
            "verdict": self.verdict,
            "inputs": dict(self.inputs),
            "checks": [asdict(check) for check in self.checks],
            "result": dict(self.result),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """Read back what `to_json` wrote. KeyError or TypeError where it is something else."""
        return cls(
            stage=data["stage"],
            inputs=data["inputs"],
            checks=tuple(Finding(**check) for check in data["checks"]),
            result=data["result"],
            verdict=data["verdict"],
            schema=data["schema"],
        )


def verdict_of(checks: Iterable[Finding]) -> Verdict:
    """One failed check refuses; that is the only rule."""
    return "refused" if any(check.status == "fail" for check in checks) else "pass"


def unmeasured(reports: Iterable[Report]) -> str:
    """Why a variant has no numbers: it was refused, and goes no further; empty where it was not.

    `reports` are of one variant, in the order of the stages.
    """
    stopped = next((report for report in reports if report.verdict == "refused"), None)
    if stopped is None or stopped.stage not in ("inspect", "convert", "smoke"):
        return ""
    first = next((check.id for check in stopped.checks if check.status == "fail"), "")
    return f"mean KLD and speed are not known: it was refused in {stopped.stage}{f' by {first}' if first else ''}"
