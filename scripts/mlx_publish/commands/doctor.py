"""doctor: a table of findings about this machine, each bad one with what mends it."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlx_publish.commands._arguments import add_json
from mlx_publish.commands._command import Command
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where work will lie."""
    parser.add_argument("--work", type=Path, default=Path("work"), metavar="DIR", help="where work will lie")
    add_json(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Print what this machine lacks for the whole way; return 4, for the surroundings, where it cannot go it."""
    import platform

    from mlx_publish.checks.base import run_checks
    from mlx_publish.commands._verdict import print_verdict
    from mlx_publish.doctor.checks import MACHINE, summary
    from mlx_publish.doctor.facts import gather
    from mlx_publish.text.temporary import TemporaryFolder

    with TemporaryFolder() as aside:
        facts = gather(options.work, aside)
    findings = run_checks(MACHINE, facts)
    failures = sum(finding.status == "fail" for finding in findings)
    name = facts.machine.system or platform.system()
    print_verdict(console, "doctor", f"{name}: {summary(facts, failures)}", findings, as_json=options.json)
    return 4 if failures else 0


COMMAND = Command(
    "doctor", "can this machine go the whole way, and what mends it", 40, add_arguments, run, extras=("mlx", "sign")
)
