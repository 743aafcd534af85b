"""What commands that judge something print at their end: a heading, the findings, and JSON where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from mlx_publish.evidence.report import Finding, verdict_of
from mlx_publish.text.console import Console
from mlx_publish.text.harmless import shown_json


def print_verdict(console: Console, command: str, title: str, findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print the findings below a heading; with `as_json` also verdict and checks on standard output."""
    console.heading(command, title)
    for finding in findings:
        console.finding(finding)
    if as_json:
        print(shown_json({"verdict": verdict_of(findings), "checks": [asdict(finding) for finding in findings]}))
