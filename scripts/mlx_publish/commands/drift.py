"""drift: what changed upstream since recipes were pinned."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlx_publish.commands._arguments import add_cards, add_from_env, add_recipes
from mlx_publish.commands._command import Command, Group
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add whether an issue is kept about it."""
    parser.add_argument("--issue", action="store_true", help="open, update or close the issue about it, through gh")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    add_cards(parser)
    add_recipes(parser)
    add_from_env(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Print what changed and what was looked at; keep the issue about it up to date where asked for, as in a job."""
    from dataclasses import asdict

    from mlx_publish.github.drift import survey
    from mlx_publish.github.drift_issue import issue_about, table
    from mlx_publish.github.runner import Runner
    from mlx_publish.text.harmless import shown_json

    runner = Runner.from_env()
    found = survey(options.recipes, options.cards)
    for row in found.moved:
        versions = f" ({row.before[:12]} → {row.now[:12]})" if row.before and row.now else ""
        console.say(f"{row.recipe}: {row.of}: {row.what}{versions}")
    for entry in found.skipped:
        console.say(f"{entry.recipe}: skipped: it {entry.why}")
    console.say(found.summary)
    runner.summarize(f"{table(found.moved)}\n{found.summary}\n")
    address = issue_about(found.moved, Path.cwd()) if options.issue or options.from_env else ""
    if address:
        console.say(f"issue: {address}")
        runner.write({"issue": address})
    if options.json:
        print(shown_json({"schema": "mlx-publish/drift/1", **asdict(found), "issue": address or None}))
    return 0


COMMAND = Command(
    "drift",
    "list sources and converters that changed since recipes were pinned",
    34,
    add_arguments,
    run,
    group=Group.REVIEW,
    example="mlx-publish drift",
)
