"""pin: write the commit of its source into a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlx_publish.commands._arguments import add_json, add_recipes
from mlx_publish.commands._command import Command, Group
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which recipes, and the revision to pin them to."""
    text = "a recipe's file or name (default: every recipe)"
    parser.add_argument("wanted", nargs="*", metavar="RECIPE", help=text)
    parser.add_argument("--revision", metavar="REV", help="pin one recipe to this commit, tag or branch")
    parser.add_argument("--update", action="store_true", help="move to the newest commit of the default branch")
    add_recipes(parser)
    add_json(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Resolve each revision and write it."""
    from mlx_publish.commands._pin import pin_recipes

    return pin_recipes(options, Path(options.recipes), console)


COMMAND = Command(
    "pin",
    "pin a recipe to the commit of its source",
    3,
    add_arguments,
    run,
    description="Resolve the revision of a recipe (a branch, a tag, or the default branch if it has none) and write "
    "the commit into the file. Everything else in the file stays as it is.",
    group=Group.START,
    example="mlx-publish pin recipes/smollm2-360m.yaml",
)
