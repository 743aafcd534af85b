"""init: write a new repo of models, with a first recipe."""

from __future__ import annotations

import argparse
from pathlib import Path

from mlx_publish.commands._arguments import add_json
from mlx_publish.commands._command import Command, Group
from mlx_publish.text.console import Console


def add_proposal(parser: argparse.ArgumentParser) -> None:
    """Add what a proposed recipe depends on."""
    parser.add_argument(
        "--namespace", metavar="NS", help="your user or organization on the Hub (default: that of HF_TOKEN)"
    )
    parser.add_argument(
        "--memory", metavar="SIZE", help="memory of the smallest Mac that must run every variant (default: 16GB)"
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the repo is and what the questions ask."""
    text = "folder of the repo (default: .)"
    parser.add_argument("dir", nargs="?", type=Path, default=Path(), metavar="DIR", help=text)
    parser.add_argument("--model", metavar="REPO", help="first model: namespace/name on the Hub, or its address")
    add_proposal(parser)
    parser.add_argument("--name", metavar="NAME", help="name of the first recipe (default: the model's)")
    text = "commit, tag or branch of the model (default: its newest commit)"
    parser.add_argument("--revision", metavar="REV", help=text)
    parser.add_argument("--license", metavar="ID", help="licence of the model, if its card names none")
    text = "ask nothing and take defaults; without --model, write no recipe"
    parser.add_argument("--yes", action="store_true", help=text)
    text = "make a git repo with a first commit, if the folder is not in one yet"
    parser.add_argument("--git", action="store_true", help=text)
    add_json(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Ask what no flag answers, inspect the model, write the files."""
    from mlx_publish.commands._init import init

    return init(options, console)


COMMAND = Command(
    "init",
    "write a new repo of models: policy, workflows, hooks and a first recipe",
    1,
    add_arguments,
    run,
    description="Write a new repo of models: policy, workflows, pre-commit hooks, README and a first recipe, pinned to "
    "a commit, with variants that fit a Mac's memory. On a terminal, it asks for the model, the namespace and the "
    "memory; with --model, only for what has no default. If the model is refused or a file exists with other content, "
    "nothing is written.",
    group=Group.START,
    example="mlx-publish init models --model HuggingFaceTB/SmolLM2-360M-Instruct --memory 16GB --git",
)
