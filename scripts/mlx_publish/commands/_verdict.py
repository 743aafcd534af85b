"""What commands that judge something print at their end: a heading, the findings, and JSON where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from mlx_publish.evidence.report import Finding, verdict_of
from mlx_publish.text.console import Console, Level
from mlx_publish.text.harmless import shown_json


def print_verdict(console: Console, command: str, title: str, findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print a heading, the findings that the console shows and the count of the rest; with `as_json` also JSON."""
    verdict = verdict_of(findings)
    if console.level > Level.QUIET:
        console.heading(command, title)
    else:
        console.verdict(f"{command}  {title}", "pass" if verdict == "pass" else "fail")
    console.findings(findings)
    if rest := console.rest(findings):
        console.ended("pass", rest)
    if as_json:
        print(shown_json({"verdict": verdict, "checks": [asdict(finding) for finding in findings]}))
