"""The vocabulary of checks: what one is, and how a list of them becomes findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from mlx_publish.errors import Refused, short
from mlx_publish.evidence.report import Finding, Status

Target = TypeVar("Target")
_LONGEST = 2000
"""Characters of what one check says."""
Accepted = Callable[[str], "str | None"]


@dataclass(frozen=True)
class Says:
    """What a check says of its target, before it has an id."""

    status: Status
    message: str
    remedy: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Check(Generic[Target]):
    """One named statement about a target.

    `protects` says what goes wrong without it. A check marked `safety` cannot be accepted away.
    """

    id: str
    title: str
    protects: str
    run: Callable[[Target], Says]
    safety: bool = False


def passed(message: str, **details: Any) -> Says:
    """All is well; the message says what was seen."""
    return Says("pass", message, details=details)


def fixed(message: str, **details: Any) -> Says:
    """Something was wrong and has been repaired in the output."""
    return Says("fixed", message, details=details)


def warned(message: str, remedy: str = "", **details: Any) -> Says:
    """It is published, and told."""
    return Says("warn", message, remedy, details)


def failed(message: str, remedy: str, **details: Any) -> Says:
    """It must not be published; the remedy is the next step."""
    return Says("fail", message, remedy, details)


def skipped(reason: str, **details: Any) -> Says:
    """Nothing could be said, and why; with the detail `told` a summary names it too."""
    return Says("skip", reason, details=details)


def run_checks(
    checks: Iterable[Check[Target]], target: Target, accepted: Accepted = lambda _: None
) -> tuple[Finding, ...]:
    """Run checks in order. `accepted` gives the reason for which a failure of a check is let through."""
    return tuple(
        accept(_finding(check.id, said), accepted, check.safety)
        for check, said in ((check, check.run(target)) for check in checks)
    )


def _finding(check: str, said: Says) -> Finding:
    """What a check said, with all that it quotes of the model cut."""
    return Finding(check, said.status, short(said.message, _LONGEST), short(said.remedy, _LONGEST), said.details)


def run_in_groups(
    groups: Iterable[Iterable[Check[Target]]], target: Target, accepted: Accepted = lambda _: None
) -> tuple[Finding, ...]:
    """Run groups of checks in order; a failure in one group ends the look, and the rest is skipped.

    What cannot be read becomes one failed finding, whatever the number of checks that wanted to read it.
    """
    found: list[Finding] = []
    for group in groups:
        first = next((finding.id for finding in found if finding.status == "fail"), None)
        for check in group:
            _add(found, _not_run(check, first) if first else _run(check, target, accepted))
    return tuple(found)


def _run(check: Check[Target], target: Target, accepted: Accepted) -> tuple[Finding, ...]:
    try:
        return run_checks((check,), target, accepted)
    except Refused as error:
        unread = Finding(error.check, "fail", str(error), error.remedy)
        skip = Finding(check.id, "skip", f"not judged, for something cannot be read: {error}")
        return (unread,) if check.id == error.check else (unread, skip)


def _not_run(check: Check[Target], first: str) -> tuple[Finding, ...]:
    return (Finding(check.id, "skip", f"not looked at, because of {first}", details={"because_of": first}),)


def _add(found: list[Finding], more: Iterable[Finding]) -> None:
    """Add findings; a failure takes the place of what the same check said before, and nothing is said twice."""
    for finding in more:
        if finding not in found:
            found[:] = [one for one in found if one.id != finding.id or one.status == "fail"]
            found.append(finding)


def accept(finding: Finding, accepted: Accepted, safety: bool = False) -> Finding:
    """A failure that the recipe accepts becomes a warning that carries the reason."""
    reason = None if safety or finding.status != "fail" else accepted(finding.id)
    if reason is None:
        return finding
    return replace(
        finding,
        status="warn",
        message=f"{finding.message} (accepted: {reason})",
        details={**finding.details, "accepted": reason},
    )
