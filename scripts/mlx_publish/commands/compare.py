"""compare: two variants, or two runs, side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlx_publish.commands._arguments import add_json, add_recipes
from mlx_publish.commands._command import Command, Group
from mlx_publish.text.console import Console

_PLACE = "variant of the recipe, its folder in a work folder, an evidence file, a published folder, or namespace/name"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two that are compared, and where variants are looked for."""
    parser.add_argument("a", metavar="A", help=_PLACE)
    parser.add_argument("b", metavar="B", help="the same")
    parser.add_argument("--recipe", metavar="NAME", help="recipe whose variants A and B are: its name or its file")
    add_recipes(parser)
    parser.add_argument("--work", type=Path, default=Path("work"), metavar="DIR", help="work folder (default: work)")
    add_json(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Print both side by side; return 0 however much they differ."""
    from mlx_publish.commands._compare import compare

    return compare(options, console)


COMMAND = Command(
    "compare",
    "compare two variants or two runs, number by number",
    33,
    add_arguments,
    run,
    extras=None,
    group=Group.LOOK,
    example="mlx-publish compare 4bit 8bit --recipe smollm2\nmlx-publish compare me/Model-4bit@v1 me/Model-4bit@v2",
)
