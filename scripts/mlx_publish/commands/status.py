"""status: how far each variant has come, and what it holds on this disk."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlx_publish.commands._arguments import add_json, add_recipes
from mlx_publish.commands._command import Command, Group
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which recipes are looked at, and where they and their results are."""
    parser.add_argument("recipe", nargs="*", metavar="RECIPE", help="name or file of a recipe (default: all)")
    add_recipes(parser)
    parser.add_argument("--work", type=Path, default=Path("work"), metavar="DIR", help="work folder (default: work)")
    add_json(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Print stage, verdict, size and disk of every variant; nothing is asked of the Hub."""
    from mlx_publish.commands._status import status

    return status(options, console)


COMMAND = Command(
    "status",
    "show verdict, tag and disk usage of every variant",
    31,
    add_arguments,
    run,
    extras=None,
    group=Group.LOOK,
    example="mlx-publish status\nmlx-publish status smollm2",
)
