"""plan: what an event asks for, as JSON and as outputs for the jobs that follow."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mlx_publish.commands._arguments import add_cards, add_from_env, add_json, add_recipes
from mlx_publish.commands._command import Command, Group
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the event."""
    parser.add_argument("--event-name", required=True, metavar="NAME", help="name of the event (GITHUB_EVENT_NAME)")
    parser.add_argument("--event", required=True, type=Path, metavar="FILE", help="its payload (GITHUB_EVENT_PATH)")
    parser.add_argument("--ref", required=True, metavar="REF", help="branch or tag that started it (GITHUB_REF)")
    add_cards(parser)
    add_recipes(parser)
    add_json(parser)
    add_from_env(parser)


def run(options: argparse.Namespace, _console: Console) -> int:
    """Print the plan; of the inputs of the Action those count that a request has."""
    from mlx_publish.github.plan import Settings, make_plan, print_plan, read_event
    from mlx_publish.github.request import of_inputs
    from mlx_publish.github.runner import Runner

    plan = make_plan(
        options.event_name,
        read_event(options.event),
        options.ref,
        options.recipes,
        given=of_inputs(options.inputs),
        settings=Settings.from_env(os.environ, options.cards),
    )
    print_plan(plan, Runner.from_env())
    return 0


COMMAND = Command(
    "plan",
    "turn a GitHub event into a plan of jobs, printed as JSON",
    33,
    add_arguments,
    run,
    description="Turn a GitHub event into a plan of jobs, printed as JSON with or without --json, and as step outputs",
    group=Group.GITHUB,
    example='mlx-publish plan --event-name push --event "$GITHUB_EVENT_PATH" --ref refs/heads/main',
)
