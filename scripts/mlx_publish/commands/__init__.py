"""The commands, one module each: whatever module of this package has no name that begins with `_` is one.

A module declares a `COMMAND`, or several as `COMMANDS`. The parser, the sessions of nox and the tests take them from
here. This package needs the standard library alone, and its modules import what else they need when they run.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

from mlx_publish.commands._command import Command


def registry() -> Mapping[str, Command]:
    """Return the commands by name, in the order in which they are listed."""
    modules = [importlib.import_module(f"{__name__}.{name}") for name in _modules()]
    commands: list[Command] = []
    for module in modules:
        commands += getattr(module, "COMMANDS", None) or (module.COMMAND,)
    return {command.name: command for command in sorted(commands, key=lambda command: command.order)}


def command_called(word: str) -> Command | None:
    """Return the command of the module that has its name, without loading the others; None where the registry tells."""
    name = word.replace("-", "_")
    if name not in _modules():
        return None
    command: Command | None = getattr(importlib.import_module(f"{__name__}.{name}"), "COMMAND", None)
    return command if command is not None and command.name == word else None


def _modules() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
