"""A command for each stage: it runs the stage, and those before it that are not up to date."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from mlx_publish.commands._command import Run
from mlx_publish.commands._stages import add_into, add_tag_and_rebuild, run_stages, stage_command
from mlx_publish.errors import BadInput
from mlx_publish.evidence.stages import ORDER, Traits
from mlx_publish.text.console import Console


def _add_template_only(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--template-only",
        action="store_true",
        help="only check the chat template of --source, converted or not; needs neither MLX nor weights",
    )
    parser.add_argument(
        "--engines", metavar="NAMES", default="", help="with --template-only: other template engines to compare, or all"
    )


def _smoke(options: argparse.Namespace, console: Console) -> int:
    if options.template_only:
        from mlx_publish.commands._template_only import template_only

        if not options.source:
            raise BadInput("--template-only needs a model", place="--source", remedy="Give a folder or namespace/name.")
        return template_only(options.source, options.revision, options.engines, console, as_json=options.json)
    if options.engines:
        raise BadInput(
            "works with --template-only", place="--engines", remedy="Add it, or set smoke.engines in a recipe."
        )
    return run_stages(options, console)


def _inspect(options: argparse.Namespace, console: Console) -> int:
    """Print the commit of a branch also where the policy refuses a recipe that is not pinned."""
    try:
        return run_stages(options, console)
    except BadInput as error:
        from mlx_publish.commands._unpinned import say_commit

        say_commit(options, error, console)
        raise


def _add_upload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cards",
        type=Path,
        metavar="DIR",
        help="publish what was reviewed in DIR, if the bytes match its evidence",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="print what would be sent, removed, tagged or refused; write nothing"
    )
    add_tag_and_rebuild(parser)


def _add_card(parser: argparse.ArgumentParser) -> None:
    add_into(parser)
    parser.add_argument("--open", action="store_true", help="open the card in a browser, as a page")


_ARGUMENTS = {"smoke": _add_template_only, "card": _add_card, "upload": _add_upload}
_RUNS: Mapping[str, Run] = {
    "inspect": _inspect,
    "smoke": _smoke,
    "convert": partial(run_stages, converts=True),
}


def _example(stage: Traits) -> str:
    """Return a line that runs a stage by a recipe, with the flag that people use it with."""
    line = f"mlx-publish {stage.name} --recipe recipes/smollm2.yaml"
    if stage.publishes:
        return f"{line} --cards cards --tag v1"
    if stage.collects:
        return f"{line} --into cards"
    if stage.needs is None:
        return f"{line}\nmlx-publish {stage.name} --source HuggingFaceTB/SmolLM2-135M-Instruct"
    return line


COMMANDS = tuple(
    stage_command(
        stage.name,
        stage.help,
        number,
        _ARGUMENTS.get(stage.name),
        _RUNS.get(stage.name, run_stages),
        example=_example(stage),
        publishes=stage.publishes,
    )
    for number, stage in enumerate(ORDER, 10)
)
