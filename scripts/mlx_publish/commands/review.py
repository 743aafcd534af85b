"""review: the cards of a recipe are brought before people."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlx_publish.commands._arguments import add_cards, add_from_env
from mlx_publish.commands._command import Command
from mlx_publish.errors import BadInput
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add whose cards they are, and where they go."""
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="the recipe whose cards they are")
    parser.add_argument("--base", metavar="BRANCH", help="the branch that they go to (default: main)")
    parser.add_argument("--callback", metavar="TEXT", help="what the asker knows the request by")
    add_cards(parser)
    add_from_env(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Open or update the pull request."""
    from mlx_publish.commands._review import review
    from mlx_publish.github.runner import Runner

    if options.recipe is None:
        raise BadInput("no recipe is given", place="--recipe", remedy="Name its file.")
    base, callback = options.base or "main", options.callback or ""
    return review(options.recipe, options.cards, base, callback, console, Runner.from_env())


COMMAND = Command("review", "open or update the pull request with a recipe's cards", 31, add_arguments, run)
