"""hook: what pre-commit and prek call."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlx_publish.commands._arguments import add_recipes
from mlx_publish.commands._command import Command
from mlx_publish.hooks import HOOKS, run_hook
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the hook and its files."""
    parser.add_argument("name", choices=HOOKS, metavar="NAME", help=", ".join(HOOKS))
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--fix", action="store_true", help="mend what can safely be mended")
    add_recipes(parser)


def run(options: argparse.Namespace, _console: Console) -> int:
    """Print what is wrong with the files; return 1 where something is, or was until now."""
    return run_hook(options.name, options.files, fix=options.fix, recipes=options.recipes)


COMMAND = Command("hook", "what pre-commit and prek call (docs/hooks.md)", 42, add_arguments, run, extras=None)
