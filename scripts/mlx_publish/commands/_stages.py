"""What the commands that run stages have in common."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable
from pathlib import Path

from mlx_publish.commands._arguments import (
    add_from_env,
    add_json,
    add_recipe,
    add_variant,
    add_verbosity,
    recipe_flags,
)
from mlx_publish.commands._command import Command, Group, Run
from mlx_publish.text.console import Console


def stage_command(
    name: str,
    help: str,  # noqa: A002  as argparse calls it
    order: int,
    more: Callable[[argparse.ArgumentParser], None] | None,
    run: Run,
    *,
    group: Group = Group.STAGES,
    example: str = "",
    publishes: bool = False,
) -> Command:
    """Return a command of the pipeline; `more` adds arguments to those that all of them have."""

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        add_recipe(parser, publishes=publishes)
        add_variant(parser)
        parser.add_argument("--work", type=Path, metavar="DIR", help="work folder (default: work)")
        parser.add_argument("--force", action="store_true", help="run again even if nothing changed")
        add_json(parser)
        add_verbosity(parser)
        add_from_env(parser)
        if more:
            more(parser)

    shown = example or f"mlx-publish {name} --recipe recipes/smollm2.yaml"
    return Command(
        name, help, order, add_arguments, run, extras=("mlx", "sign"), computes=True, group=group, example=shown
    )


def add_into(parser: argparse.ArgumentParser) -> None:
    """Add where cards are copied for review."""
    parser.add_argument(
        "--into",
        type=Path,
        metavar="DIR",
        help="also copy card and evidence into DIR/<namespace>/<name>, for review in git",
    )


def add_tag_and_rebuild(parser: argparse.ArgumentParser) -> None:
    """Add the flags of whoever publishes."""
    parser.add_argument("--tag", metavar="TAG", help="tag of the Hub repo (default: content-<digest>)")
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="first convert the source again in an empty folder and compare every file",
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
        gc.disable()  # what is imported stays
        from mlx_publish.commands._run import run_command

        gc.freeze()
        gc.enable()
        return run_command(options, recipe_flags(options), until, console, children)
