"""What pre-commit and prek call: each hook looks at many files in one process, without MLX and without a network.

A hook is a module whose name begins with `mlx_`, with `look(files, options)`, which yields faults. None is loaded
before it is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlx_publish.errors import BadInput, Fault
from mlx_publish.hooks.faults import Options, tell

HOOKS: Mapping[str, str] = {
    module.name.replace("_", "-"): module.name
    for module in pkgutil.iter_modules(__path__)
    if module.name.startswith("mlx_")
}
"""The module of each hook by the hook's name."""


def run_hook(name: str, files: Sequence[Path], *, fix: bool = False, recipes: Path = Path("recipes")) -> int:
    """Print what is wrong with the files; return 1 where something is, or was until now, else 0.

    Raises `BadInput` for a file that is not there.
    """
    return int(bool(faults_told(name, files, fix=fix, recipes=recipes)))


def faults_told(name: str, files: Sequence[Path], *, fix: bool, recipes: Path) -> list[Fault]:
    """Print what is wrong with the files and return it; `BadInput` for a file that is not there."""
    for path in files:
        if not path.is_file():
            raise BadInput("file not found", place=str(path), remedy="Name files, not folders.")
    module = importlib.import_module(f"mlx_publish.hooks.{HOOKS[name]}")
    faults = list(module.look(tuple(files), Options(fix, recipes)))
    tell(faults)
    return faults
