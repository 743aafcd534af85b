"""list: the recipes of a repo, and what is wrong with them."""

from __future__ import annotations

import argparse

from mlx_publish.commands._arguments import add_json, add_recipes
from mlx_publish.commands._command import Command, Group
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the recipes are."""
    add_recipes(parser)
    add_json(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Print the recipes; return 2 where one of them cannot be used."""
    from mlx_publish.commands._list import list_recipes

    return list_recipes(options, console)


COMMAND = Command(
    "list",
    "list the recipes here, and what is wrong with them",
    30,
    add_arguments,
    run,
    extras=None,
    group=Group.LOOK,
    example="mlx-publish list",
)
