"""drift: what moved since recipes were pinned."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlx_publish.commands._arguments import add_cards, add_from_env, add_recipes
from mlx_publish.commands._command import Command, Group
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add whether people are told by an issue."""
    parser.add_argument("--issue", action="store_true", help="open, update or close the issue about it, through gh")
    add_cards(parser)
    add_recipes(parser)
    add_from_env(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Print what moved, and keep the issue about it up to date where that is asked for, as in a job."""
    from mlx_publish.github.drift import drift, issue_about, table
    from mlx_publish.github.runner import Runner

    runner = Runner.from_env()
    moved = list(drift(options.recipes, options.cards))
    for row in moved:
        console.say(f"{row.recipe}: {row.of}: {row.what} ({row.before[:12] or '?'} → {row.now[:12] or '?'})")
    runner.summarize(table(moved))
    if not moved:
        console.say("nothing moved")
    if (options.issue or options.from_env) and (address := issue_about(moved, Path.cwd())):
        console.say(f"issue: {address}")
        runner.write({"issue": address})
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
