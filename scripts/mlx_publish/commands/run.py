"""run: all stages up to one of them."""

from __future__ import annotations

import argparse

from mlx_publish.commands._command import Group
from mlx_publish.commands._stages import add_into, run_stages, stage_command
from mlx_publish.errors import BadInput
from mlx_publish.evidence.stages import NAMES
from mlx_publish.text.console import Console
from mlx_publish.text.harmless import one_line
from mlx_publish.text.nearest import did_you_mean


def stage_name(text: str) -> str:
    """Return the name of a stage. Raises `BadInput` for any other word."""
    if text not in NAMES:
        message = f"there is no stage {one_line(text)}{did_you_mean(text, NAMES)}"
        raise BadInput(message, place="--until", remedy=f"One of {', '.join(NAMES)}.")
    return text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the last stage, and where cards go."""
    parser.add_argument(
        "--until", type=stage_name, metavar="STAGE", help=f"last stage: {', '.join(NAMES)} (default: card)"
    )
    add_into(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Run all stages up to the last one asked for."""
    return run_stages(options, console, until=options.until or "card")


COMMAND = stage_command(
    "run",
    "run all stages up to --until (default: card)",
    20,
    add_arguments,
    run,
    group=Group.WHOLE,
    example="mlx-publish run --recipe recipes/smollm2.yaml\n"
    "mlx-publish run --source HuggingFaceTB/SmolLM2-135M-Instruct --variants 4bit,8bit",
    publishes=True,
)
