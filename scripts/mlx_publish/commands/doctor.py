"""doctor: a table of findings about this machine, each bad one with what mends it."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlx_publish.commands._arguments import add_json, add_verbosity
from mlx_publish.commands._command import Command
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where work will lie."""
    parser.add_argument("--work", type=Path, default=Path("work"), metavar="DIR", help="where work will lie")
    add_json(parser)
    add_verbosity(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Print what this machine lacks for the whole way; return 4, for the surroundings, where it cannot go it."""
    import platform

    from mlx_publish import __version__
    from mlx_publish.checks.base import run_checks
    from mlx_publish.commands._verdict import print_verdict
    from mlx_publish.doctor.checks import MACHINE
    from mlx_publish.doctor.facts import gather
    from mlx_publish.evidence.report import verdict_of
    from mlx_publish.text.temporary import TemporaryFolder

    with TemporaryFolder() as aside:
        facts = gather(options.work, aside)
    findings = run_checks(MACHINE, facts)
    fit = verdict_of(findings) == "pass"
    name = facts.machine.system or platform.system()
    title = f"mlx-publish {__version__} on {name}: {'fit' if fit else 'NOT fit'}"
    print_verdict(console, "doctor", title, findings, as_json=options.json)
    return 0 if fit else 4


COMMAND = Command(
    "doctor", "can this machine go the whole way, and what mends it", 40, add_arguments, run, extras=("mlx", "sign")
)
