"""The command: a table of findings, each bad one with what mends it."""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from mlx_publish import __version__
from mlx_publish.checks.base import run_checks
from mlx_publish.console import Console
from mlx_publish.doctor.checks import MACHINE
from mlx_publish.doctor.facts import gather
from mlx_publish.report import verdict_of


def doctor(work: Path, console: Console, *, as_json: bool) -> int:
    """Print what this machine lacks for the whole way; returns 4, for the surroundings, where it cannot go it."""
    with tempfile.TemporaryDirectory(prefix="mlx-publish-doctor-") as aside:
        facts = gather(work, Path(aside))
    findings = run_checks(MACHINE, facts)
    fit = verdict_of(findings) == "pass"
    name = facts.machine.get("system") or platform.system()
    console.heading("doctor", f"mlx-publish {__version__} on {name}: {'fit' if fit else 'NOT fit'}")
    for finding in findings:
        console.finding(finding)
    if as_json:
        data = {"verdict": verdict_of(findings), "checks": [asdict(finding) for finding in findings]}
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
    return 0 if fit else 4
