"""completion: a script that completes the command line in bash, zsh or fish."""

from __future__ import annotations

import argparse

from mlx_publish.commands._arguments import add_json, print_json
from mlx_publish.commands._command import Command, Group
from mlx_publish.text.console import Console

SHELLS = ("bash", "zsh", "fish")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the shell."""
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help="bash, zsh or fish")
    add_json(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Print the script."""
    from mlx_publish.commands._completion import script
    from mlx_publish.commands._parser import Commands

    text = script(options.shell, Commands())
    print_json(options, {"shell": options.shell, "script": text})
    if not options.json:
        console.out.write(text)
    return 0


COMMAND = Command(
    "completion",
    "print a script that completes commands, flags and recipes in your shell",
    49,
    add_arguments,
    run,
    extras=None,
    group=Group.MACHINE,
    example="source <(mlx-publish completion bash)\n"
    "source <(mlx-publish completion zsh)\n"
    "mlx-publish completion fish > ~/.config/fish/completions/mlx-publish.fish",
)
