"""The vocabulary of checks: what one is, and how a list of them becomes findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from mlx_publish.errors import Refused, short
from mlx_publish.evidence.report import Finding, Status

Target = TypeVar("Target")
_LONGEST = 2000
"""Characters of a check's message, and of its remedy."""
Accepted = Callable[[str], "str | None"]


@dataclass(frozen=True)
class Says:
    """Judgement of a check about its target: a finding without an id."""

    status: Status
    message: str
    remedy: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check(Generic[Target]):
    """One named statement about a target.

    `protects` says what goes wrong without it. A check marked `safety` cannot be accepted away. One with `when` is a
    check of the targets alone for which that is true; of others there is no finding.
    """

    id: str
    title: str
    protects: str
    run: Callable[[Target], Says]
    safety: bool = False
    when: Callable[[Target], bool] | None = None


def passed(message: str, **details: Any) -> Says:
    """Return a pass; the message says what the check looked at."""
    return Says("pass", message, details=details)


def fixed(message: str, **details: Any) -> Says:
    """Return the judgement for a fault that the output has no more, because the conversion repaired it."""
    return Says("fixed", message, details=details)


def warned(message: str, remedy: str = "", **details: Any) -> Says:
    """Return a warning: it is published, and the card or the summary shows the message."""
    return Says("warn", message, remedy, details)


def failed(message: str, remedy: str, **details: Any) -> Says:
    """Return a failure: it must not be published. `remedy` is the next step."""
    return Says("fail", message, remedy, details)


def skipped(reason: str, **details: Any) -> Says:
    """Return that the check could not judge, and why. With the detail `told` the summary names it, too."""
    return Says("skip", reason, details=details)


def run_checks(
    checks: Iterable[Check[Target]], target: Target, accepted: Accepted = lambda _: None
) -> tuple[Finding, ...]:
    """Run checks in order and return a finding each. `accepted` gives the recipe's reason to accept a failure."""
    findings = []
    for check in checks:
        if check.when is not None and not check.when(target):
            continue
        judged = check.run(target)
        # Messages quote the model, whose texts may have any length.
        message, remedy = short(judged.message, _LONGEST), short(judged.remedy, _LONGEST)
        findings.append(
            accept(Finding(check.id, judged.status, message, remedy, judged.details), accepted, check.safety)
        )
    return tuple(findings)


def run_in_groups(
    groups: Iterable[Iterable[Check[Target]]], target: Target, accepted: Accepted = lambda _: None
) -> tuple[Finding, ...]:
    """Run groups of checks in order. A failure in one group skips the checks of all later groups.

    A file that cannot be read becomes one failed finding, however many checks tried to read it.
    """
    findings: list[Finding] = []
    for group in groups:
        first = next((finding.id for finding in findings if finding.status == "fail"), None)
        for check in group:
            skip = Finding(check.id, "skip", f"not checked, because {first} failed", details={"because_of": first})
            left = () if check.when else (skip,)
            for finding in left if first else _run(check, target, accepted):
                if finding not in findings:
                    # A failure replaces what the same check reported before.
                    findings = [old for old in findings if old.id != finding.id or old.status == "fail"]
                    findings.append(finding)
    return tuple(findings)


def _run(check: Check[Target], target: Target, accepted: Accepted) -> tuple[Finding, ...]:
    """Run a check. Return its finding, or what it could not read with the check as skipped."""
    try:
        return run_checks((check,), target, accepted)
    except Refused as error:
        unread = Finding(error.check, "fail", str(error), error.remedy)
        skip = Finding(check.id, "skip", f"not judged, because a file cannot be read: {error}")
        return (unread,) if check.id == error.check else (unread, skip)


def accept(finding: Finding, accepted: Accepted, safety: bool = False) -> Finding:
    """Return the finding; as a warning with the recipe's reason where the recipe accepts the failure."""
    reason = None if safety or finding.status != "fail" else accepted(finding.id)
    if reason is None:
        return finding
    return replace(
        finding,
        status="warn",
        message=f"{finding.message} (accepted: {reason})",
        details={**finding.details, "accepted": reason},
    )
