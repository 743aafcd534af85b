"""What the commands that run stages have in common."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from mlx_publish.commands._arguments import add_from_env, add_recipe, add_verbosity, recipe_flags
from mlx_publish.commands._command import Command, Run
from mlx_publish.text.console import Console


def stage_command(
    name: str,
    help: str,  # noqa: A002  as argparse calls it
    order: int,
    more: Callable[[argparse.ArgumentParser], None] | None,
    run: Run,
) -> Command:
    """Return a command on the way of a model; `more` adds arguments to those that all of them have."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_recipe(parser)
        parser.add_argument("--variant", metavar="NAME", help="only this variant of the recipe")
        parser.add_argument("--work", type=Path, metavar="DIR", help="work folder (default: work)")
        parser.add_argument("--force", action="store_true", help="repeat although nothing changed")
        parser.add_argument("--json", action="store_true", help="print the reports as JSON on standard output")
        add_verbosity(parser)
        add_from_env(parser)
        if more:
            more(parser)

    return Command(name, help, order, add_arguments, run, description=help, extras=("mlx", "sign"), computes=True)


def add_into(parser: argparse.ArgumentParser) -> None:
    """Add where cards are put to be reviewed."""
    parser.add_argument(
        "--into",
        type=Path,
        metavar="DIR",
        help="also put card and evidence into DIR/<namespace>/<name>, to be reviewed in git",
    )


def add_tag_and_rebuild(parser: argparse.ArgumentParser) -> None:
    """Add what is asked of whoever publishes."""
    parser.add_argument("--tag", help="tag of the Hub repo (default: content-<digest>)")
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="first convert the source once more, in an empty folder, and compare every file",
    )


def run_stages(
    options: argparse.Namespace, console: Console, *, until: str | None = None, converts: bool = False
) -> int:
    """Run the stage that is called like the command, or all of them `until` one.

    Where they probably convert, MLX is loaded by a child while the rest is loaded here.
    """
    from mlx_publish.children.engine import Children

    options.work = options.work or Path("work")
    with Children() as children:
        if until or converts:
            children.start("convert")
        from mlx_publish.commands._run import run_command

        return run_command(options, recipe_flags(options), until, console, children)
