"""What the checks said that a reader of the card should know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Check = Mapping[str, Any]
# What was so in the hour of publishing and says nothing of the model.
_PASSING = frozenset({"not-taken", "revision"})


def told(evidence: Mapping[str, Any]) -> dict[str, list[dict[str, str]]]:
    """Checks that repaired something (`fixed`), that failed and were let through (`accepted`), and remarks (`warn`)."""
    groups: dict[str, list[dict[str, str]]] = {"accepted": [], "fixed": [], "warn": []}
    for check in evidence["checks"]:
        reason = check["accepted"]
        group = "accepted" if reason else check["status"]
        if group in groups and check["id"] not in _PASSING:
            message = check["message"].removesuffix(f" (accepted: {reason})") if reason else check["message"]
            groups[group].append({"id": check["id"], "message": message, "reason": reason or ""})
    return groups


def passed(evidence: Mapping[str, Any]) -> int:
    """How many checks had nothing to say."""
    return sum(check["status"] == "pass" for check in evidence["checks"])
