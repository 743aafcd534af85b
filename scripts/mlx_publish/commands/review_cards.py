"""review-cards: whatever a branch changes of cards is judged."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlx_publish.commands._arguments import add_cards, add_from_env, add_recipes, add_verbosity
from mlx_publish.commands._command import Command
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the branch is compared with."""
    parser.add_argument("--base", metavar="REF", help="commit or branch to compare with (default: main)")
    add_cards(parser)
    add_recipes(parser)
    add_verbosity(parser)
    add_from_env(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Judge the branch that is checked out; return 1 where a card is not what its evidence gives."""
    from mlx_publish.commands._review_cards import review_cards
    from mlx_publish.github.runner import Runner

    say = console.say if options.verbose else None
    base = options.base or "main"
    return review_cards(Path.cwd(), base, options.cards, options.recipes, Runner.from_env(), say)


COMMAND = Command("review-cards", "is every card that a branch changes what its evidence gives", 32, add_arguments, run)
