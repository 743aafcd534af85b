"""hook: what pre-commit and prek call."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

from mlx_publish.commands._arguments import add_json, add_recipes, fault_record, print_json
from mlx_publish.commands._command import Command, Group
from mlx_publish.hooks import HOOKS, faults_told
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the hook and its files."""
    parser.add_argument("name", choices=HOOKS, metavar="NAME", help=f"hook: {', '.join(HOOKS)}")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="files to check")
    parser.add_argument("--fix", action="store_true", help="fix what can safely be fixed")
    add_recipes(parser)
    add_json(parser)


def run(options: argparse.Namespace, _console: Console) -> int:
    """Print what is wrong with the files; return 1 where something is, or was until now."""
    # With --json standard output holds nothing else.
    with contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext():
        faults = faults_told(options.name, options.files, fix=options.fix, recipes=options.recipes)
    print_json(options, {"hook": options.name, "faults": [fault_record(fault) for fault in faults]})
    return int(bool(faults))


COMMAND = Command(
    "hook",
    "run a pre-commit hook on files (docs/hooks.md)",
    42,
    add_arguments,
    run,
    extras=None,
    group=Group.GITHUB,
    example="mlx-publish hook mlx-recipe recipes/*.yaml",
)
