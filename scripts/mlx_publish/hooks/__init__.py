"""What pre-commit and prek call: each hook looks at many files in one process, without MLX and without a network.

A hook is a module whose name begins with `mlx_`, with `look(files, options)`, which yields faults. None is loaded
before it is asked for.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mlx_publish.errors import BadInput, Fault
from mlx_publish.hooks.faults import Options, tell

HOOKS: Mapping[str, str] = {
    module.name.replace("_", "-"): module.name
    for module in pkgutil.iter_modules(__path__)
    if module.name.startswith("mlx_")
}
"""The module of each hook by the hook's name."""
_SELDOM = 100_000
"""Objects between two searches for garbage; Python's own is 700."""


def run_hook(name: str, files: Sequence[Path], *, fix: bool = False, recipes: Path = Path("recipes")) -> int:
    """Print the faults of the files; return 1 where something is, or was until now, else 0.

    Raises `BadInput` for a file that is not there.
    """
    return int(bool(faults_told(name, files, fix=fix, recipes=recipes)))


def faults_told(name: str, files: Sequence[Path], *, fix: bool, recipes: Path) -> list[Fault]:
    """Print and return the faults of the files; `BadInput` for a file that is not there."""
    for path in files:
        if not path.is_file():
            raise BadInput("file not found", place=str(path), remedy="Name files, not folders.")
    with _seldom_collected():
        module = importlib.import_module(f"mlx_publish.hooks.{HOOKS[name]}")
        # What is loaded stays: neither the collector nor the copies of this process have to look through it again.
        gc.freeze()
        faults = list(module.look(tuple(files), Options(fix, recipes)))
    tell(faults)
    return faults


@contextlib.contextmanager
def _seldom_collected() -> Iterator[None]:
    """Look for garbage less often: what a hook loads and makes holds little, and looking takes a tenth of its time."""
    before = gc.get_threshold()
    gc.set_threshold(_SELDOM, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
