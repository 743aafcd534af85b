"""run: all stages up to one of them."""

from __future__ import annotations

import argparse

from mlx_publish.commands._stages import add_into, run_stages, stage_command
from mlx_publish.text.console import Console


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--until", metavar="STAGE", help="the last stage (default: card)")
    add_into(parser)


def _run(options: argparse.Namespace, console: Console) -> int:
    return run_stages(options, console, until=options.until or "card")


COMMAND = stage_command("run", "all stages up to --until (default: card)", 20, _add_arguments, _run)
