"""review: open the pull request with the cards of a recipe."""

from __future__ import annotations

import argparse

from mlx_publish.commands._arguments import add_cards, add_from_env, recipe_path
from mlx_publish.commands._command import Command, Group
from mlx_publish.errors import BadInput
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the recipe, where its cards lie, and where they go."""
    parser.add_argument("--recipe", type=recipe_path, metavar="FILE", help="the recipe of the cards")
    parser.add_argument("--base", metavar="BRANCH", help="target branch (default: the remote's default branch)")
    parser.add_argument("--callback", metavar="TEXT", help="your own reference for the request")
    parser.add_argument("--print", dest="only_print", action="store_true", help="print title and text, open nothing")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    add_cards(parser)
    add_from_env(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Open or update the pull request, or print it."""
    from mlx_publish.commands._review import Asked, review
    from mlx_publish.github.runner import Runner

    if options.recipe is None:
        raise BadInput("no recipe given", place="--recipe", remedy="Name its file, for example: recipes/my-model.yaml")
    asked = Asked(
        options.recipe,
        options.cards,
        options.base or "",
        options.callback or "",
        only_print=options.only_print,
        json=options.json,
    )
    return review(asked, console, Runner.from_env())


COMMAND = Command(
    "review",
    "open or update the pull request with a recipe's cards",
    31,
    add_arguments,
    run,
    group=Group.REVIEW,
    example="mlx-publish review --recipe recipes/smollm2.yaml\n"
    "mlx-publish review --recipe recipes/smollm2.yaml --print",
)
