"""review-cards: check the cards that a branch changes."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from mlx_publish.commands._arguments import add_cards, add_from_env, add_json, add_recipes, add_verbosity, print_json
from mlx_publish.commands._command import Command, Group
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
    add_verbosity(parser)
    add_json(parser)
    add_from_env(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Check the branch that is checked out; return 1 if a card does not match its evidence."""
    from mlx_publish.commands._review_cards import review_cards
    from mlx_publish.github.remote import default_base, repo_root
    from mlx_publish.github.runner import Runner

    root, say = Path.cwd(), console.say if options.verbose else None
    repo_root(root)
    base = options.base or default_base(root)
    # With --json standard output holds nothing else.
    with contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext():
        code = review_cards(root, base, options.cards, options.recipes, Runner.from_env(), say)
    print_json(options, {"base": base, "verdict": "refused" if code else "pass"})
    return code


COMMAND = Command(
    "review-cards",
    "check that changed cards match their evidence",
    32,
    add_arguments,
    run,
    group=Group.REVIEW,
    example="mlx-publish review-cards --base main",
)
