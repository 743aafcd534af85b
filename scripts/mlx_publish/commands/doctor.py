"""The command: a table of findings, each bad one with what mends it."""

from __future__ import annotations

import platform
from pathlib import Path

from mlx_publish import __version__
from mlx_publish.checks.base import run_checks
from mlx_publish.commands.verdict import print_verdict
from mlx_publish.doctor.checks import MACHINE
from mlx_publish.doctor.facts import gather
from mlx_publish.evidence.report import verdict_of
from mlx_publish.text.console import Console
from mlx_publish.text.temporary import TemporaryFolder


def doctor(work: Path, console: Console, *, as_json: bool) -> int:
    """Print what this machine lacks for the whole way; returns 4, for the surroundings, where it cannot go it."""
    with TemporaryFolder() as aside:
        facts = gather(work, aside)
    findings = run_checks(MACHINE, facts)
    fit = verdict_of(findings) == "pass"
    name = facts.machine.get("system") or platform.system()
    title = f"mlx-publish {__version__} on {name}: {'fit' if fit else 'NOT fit'}"
    print_verdict(console, "doctor", title, findings, as_json=as_json)
    return 0 if fit else 4
