"""What the installed mlx-lm can load, found out without importing it."""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Modules of mlx_lm.models that are parts of architectures, not architectures.
_PARTS = {"base", "cache", "rope_utils", "switch_layers", "ssm", "mla", "activations", "pipeline"}

MOST_DEVIATION = 1e-2
"""Largest deviation of a GPU's products from the CPU's, as a share of the largest number; float16 makes some 1e-3."""
COMPUTING = ("mlx", "mlx-lm", "transformers")
"""Packages whose version shows in what a model computes."""


@dataclass(frozen=True)
class Support:
    """Model types by name, and the version of mlx-lm that has them."""

    version: str
    types: frozenset[str]


def mlx_lm_support() -> Support | None:
    """Model types that mlx-lm has a module for or maps to one; None where it is not installed.

    Source: `_get_classes` and `MODEL_REMAPPING` in mlx_lm/utils.py.
    """
    spec = importlib.util.find_spec("mlx_lm")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations)))
    modules = {path.stem for path in (folder / "models").glob("*.py") if _is_architecture(path)}
    return Support(version("mlx-lm"), frozenset(modules | _remapped(folder / "utils.py")))


def versions(*names: str) -> dict[str, str]:
    """Versions of packages, of all that make and measure a model where none is named; a missing one is left out."""
    found = {}
    for name in names or ("mlx-publish", "mlx", "mlx-lm", "transformers", "tokenizers", "huggingface-hub"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _is_architecture(path: Path) -> bool:
    return path.stem not in _PARTS and "class ModelArgs" in path.read_text(encoding="utf-8")


def _remapped(utils: Path) -> set[str]:
    for node in ast.parse(utils.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "MODEL_REMAPPING" for target in node.targets
        ):
            return set(ast.literal_eval(node.value))
    return set()
