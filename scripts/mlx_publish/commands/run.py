"""run: all stages up to one of them."""

from __future__ import annotations

import argparse

from mlx_publish.commands._stages import add_into, run_stages, stage_command
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the last stage, and where cards go."""
    parser.add_argument("--until", metavar="STAGE", help="the last stage (default: card)")
    add_into(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Run all stages up to the last one asked for."""
    return run_stages(options, console, until=options.until or "card")


COMMAND = stage_command("run", "all stages up to --until (default: card)", 20, add_arguments, run)
