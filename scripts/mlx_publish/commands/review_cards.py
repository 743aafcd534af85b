"""review-cards: check the cards that a branch changes."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlx_publish.commands._arguments import add_cards, add_from_env, add_recipes
from mlx_publish.commands._command import Command
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the branch is compared with."""
    parser.add_argument(
        "--base",
        metavar="REF",
        help="commit or branch to compare with (default: the remote's default branch, else main)",
    )
    add_cards(parser)
    add_recipes(parser)
    add_from_env(parser)


def run(options: argparse.Namespace, _console: Console) -> int:
    """Check the branch that is checked out; return 1 if a card does not match its evidence."""
    from mlx_publish.commands._review_cards import review_cards
    from mlx_publish.github.remote import default_base, repo_root
    from mlx_publish.github.runner import Runner

    root = Path.cwd()
    repo_root(root)
    return review_cards(root, options.base or default_base(root), options.cards, options.recipes, Runner.from_env())


COMMAND = Command("review-cards", "check that changed cards match their evidence", 32, add_arguments, run)
