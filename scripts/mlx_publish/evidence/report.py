"""The envelope of every stage's report, and what a check finds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeVar, get_args

from mlx_publish.evidence.records import from_json

T = TypeVar("T")
SCHEMA = "mlx-publish/report/1"
PASSING = "disk_free_bytes"
"""A detail of the check `room` that is another one by the hour."""
CACHED = "disk_cached_bytes"
"""Another one: of a source that is streamed, what lies in the Hub's cache."""
STREAMED = "; the source is streamed"
"""Words of the check `room` where it is."""
Status = Literal["pass", "fixed", "warn", "fail", "skip"]
Verdict = Literal["pass", "refused", "error"]


@dataclass(frozen=True)
class Finding:
    """The result of one check on one model.

    `message` says what was found and why it matters, `remedy` the next step, `details` data for programs.
    """

    id: str
    status: Status
    message: str
    remedy: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Chain:
    """Digests of the earlier reports and of this one, which reveal an edited report."""

    own: str = ""
    """Over stage, verdict, inputs, checks and result; not over how much of a disk was free."""
    before: Mapping[str, str] = field(default_factory=dict)
    """`own` of the reports of the stages before, by stage."""
    replaced: tuple[str, ...] = ()
    """`own` of the reports that stood here before: what was made from one of them needs not be made again for that."""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Chain:
        """Read a chain back. KeyError, TypeError or ValueError if it is something else."""
        own, before, replaced = data["own"], dict(data["before"]), tuple(data["replaced"])
        if not all(isinstance(digest, str) for digest in (own, *before, *before.values(), *replaced)):
            raise TypeError("a digest is a text")
        return cls(own, before, replaced)


@dataclass(frozen=True)
class Report:
    """The report of one stage for one variant, with the digests of its inputs."""

    stage: str
    inputs: Mapping[str, object]
    checks: tuple[Finding, ...]
    result: Mapping[str, Any]
    verdict: Verdict
    schema: str = SCHEMA
    chain: Chain = Chain()

    def read(self, kind: type[T]) -> T | None:
        """Return the result as a record; None if it is of another kind, or of a version that reported otherwise."""
        try:
            return from_json(kind, self.result)
        except ValueError:
            return None

    @property
    def not_measured(self) -> str:
        """The reason for which a stage that measures has no numbers to print; empty if it has."""
        return str(self.result.get("not_measured") or "")

    @property
    def untouched(self) -> bool:
        """Return whether it still is what was written."""
        return self.chain.own == self._digest()

    def behind(self, before: Mapping[str, Report], replaced: Report | None) -> Report:
        """Return it as it is written behind the reports `before`, in the place of `replaced`."""
        digests = {stage: report.chain.own for stage, report in before.items()}
        own = self._digest()
        old = (*replaced.chain.replaced, replaced.chain.own) if replaced else ()
        return replace(self, chain=Chain(own, digests, tuple(dict.fromkeys(digest for digest in old if digest != own))))

    def follows(self, report: Report) -> bool:
        """Return whether it was made from this report of another stage, or from one that stood in its place."""
        named = self.chain.before.get(report.stage)
        return named == report.chain.own or named in report.chain.replaced

    def _digest(self) -> str:
        data = {**self.to_json(), "chain": None, "checks": [_lasting(check) for check in self.checks]}
        # A file keeps the order of keys. Sorted, numbers as keys would stand otherwise than the texts they become.
        text = json.dumps(data, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return plain data in the order of the contract."""
        return {
            "schema": self.schema,
            "stage": self.stage,
            "verdict": self.verdict,
            "inputs": dict(self.inputs),
            "checks": [asdict(check) for check in self.checks],
            "result": dict(self.result),
            "chain": {
                "own": self.chain.own,
                "before": dict(self.chain.before),
                "replaced": list(self.chain.replaced),
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Report:
        """Read back what `to_json` wrote. KeyError, TypeError or ValueError if it is something else."""
        checks = tuple(Finding(**check) for check in data["checks"])
        texts = [text for check in checks for text in (check.id, check.status, check.message, check.remedy)]
        maps = [data["inputs"], data["result"], *(check.details for check in checks)]
        if not (all(isinstance(text, str) for text in texts) and all(isinstance(found, dict) for found in maps)):
            raise TypeError("a finding, the inputs or the result are of another type")
        if data["verdict"] not in get_args(Verdict) or {check.status for check in checks} - {*get_args(Status)}:
            raise ValueError("there is no such verdict or status")
        return cls(
            stage=data["stage"],
            inputs=data["inputs"],
            checks=checks,
            result=data["result"],
            verdict=data["verdict"],
            schema=data["schema"],
            chain=Chain.from_json(data["chain"]),
        )


def _lasting(check: Finding) -> dict[str, Any]:
    """Return a finding without what is another number in every run."""
    details = {key: value for key, value in check.details.items() if key not in (PASSING, CACHED)}
    return {**asdict(check), "details": details}


def verdict_of(checks: Iterable[Finding]) -> Verdict:
    """Return `refused` where one check failed, else `pass`."""
    return "refused" if any(check.status == "fail" for check in checks) else "pass"


def unmeasured(reports: Iterable[Report]) -> str:
    """Return why a variant has no numbers, or none of its speed; empty if it has all that was asked for.

    `reports` are of one variant, in the order of the stages.
    """
    listed = list(reports)
    stopped = next((report for report in listed if report.verdict == "refused"), None)
    if stopped is not None and stopped.stage in ("inspect", "convert", "smoke"):
        first = next((check.id for check in stopped.checks if check.status == "fail"), "")
        return f"no mean KLD and no speed: refused in {stopped.stage}{f' by {first}' if first else ''}"
    speed = next((report for report in listed if report.stage == "benchmark" and report.not_measured), None)
    return f"speed: {speed.not_measured.partition(':')[0]}" if speed else ""
