"""doctor: what this machine, or a repo on GitHub, lacks for the whole pipeline, each with the command that fixes it."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlx_publish.commands._arguments import add_json, add_verbosity
from mlx_publish.commands._command import Command, Group
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the work folder, and the repo on GitHub to check instead."""
    parser.add_argument("--work", type=Path, default=Path("work"), metavar="DIR", help="the work folder")
    parser.add_argument("--github", action="store_true", help="check the settings of a repo on GitHub, through gh")
    parser.add_argument("--repo", metavar="OWNER/NAME", help="with --github: which repo; default: that of this folder")
    add_json(parser)
    add_verbosity(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Print what is missing; return 4, for the surroundings, if the pipeline cannot run."""
    if options.github or options.repo is not None:
        return _repo(options, console)
    return _machine(options, console)


def _machine(options: argparse.Namespace, console: Console) -> int:
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


def _repo(options: argparse.Namespace, console: Console) -> int:
    from dataclasses import replace
    from textwrap import indent

    from mlx_publish.checks.base import run_checks
    from mlx_publish.commands._verdict import print_verdict
    from mlx_publish.doctor.github_checks import REPO, summary
    from mlx_publish.doctor.github_facts import gather

    console.progress("asking GitHub")
    facts = gather(Path.cwd(), options.repo)
    findings = run_checks(REPO, facts)
    failures = sum(finding.status == "fail" for finding in findings)
    unknown = sum(bool(finding.details.get("unknown")) for finding in findings)
    # Commands stand below in one piece each, so that they can be copied.
    shown = findings if options.json else [replace(finding, remedy="") for finding in findings]
    print_verdict(console, "doctor --github", summary(facts, failures, unknown), shown, as_json=options.json)
    for finding in findings:
        if finding.status in ("fail", "warn") and not options.json:
            console.say(f"To fix {finding.id}:\n" + indent(finding.remedy, "  "))
    return 4 if failures else 0


COMMAND = Command(
    "doctor",
    "check this machine, or a repo on GitHub, and suggest fixes",
    40,
    add_arguments,
    run,
    extras=("mlx", "sign"),
    group=Group.MACHINE,
    example="mlx-publish doctor\nmlx-publish doctor --github",
)
