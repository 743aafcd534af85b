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
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    commands: list[Command] = []
    for module in modules:
        commands += getattr(module, "COMMANDS", None) or (module.COMMAND,)
    return {command.name: command for command in sorted(commands, key=lambda command: command.order)}
