"""Find a Python that has mlx-vlm, and let it generate in a child process. What fails there is a reason, not an error.

mlx-vlm has dependencies that a conversion of text has no use for, so it lives in a Python of its own, with those that
it imports (scripts/vision_environment.py), or beside the kit (extra `vision`).
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from mlx_publish.children import process
from mlx_publish.children.engine import environment
from mlx_publish.children.environment import of_a_child
from mlx_publish.children.other_python import Answer, Child, Python, packages_of
from mlx_publish.text.temporary import TemporaryFolder

VARIABLE = "MLX_PUBLISH_VISION_PYTHON"
NOT_INSTALLED = "mlx-vlm is not installed here"
_PACKAGES = ("mlx-vlm", "mlx", "transformers")
# What is imported beside them: where pip was told to install no dependencies, some may be missing.
_BESIDE = ("mlx_lm", "numpy", "PIL", "jinja2", "pydantic", "huggingface_hub", "sentencepiece", "requests", "tqdm")
_LACKS = "import importlib.util as u; print(', '.join(n for n in %r if u.find_spec(n) is None))"
_WHERE = "import importlib.util as u; print(next(iter(u.find_spec(%r).submodule_search_locations)))"
_FROM, _BEFORE = (0, 7, 10), (0, 8)


class NoVision(ValueError):
    """There is no mlx-vlm that this kit knows; the message says why."""


def find_vision() -> Python:
    """Return the Python that MLX_PUBLISH_VISION_PYTHON names, else this one. Raises `NoVision`."""
    given = os.environ.get(VARIABLE)
    if given:
        python = _named(given)
    elif all(importlib.util.find_spec(name.replace("-", "_")) for name in _PACKAGES):
        python = Python(Path(sys.executable), {name: importlib.metadata.version(name) for name in _PACKAGES})
    else:
        raise NoVision(NOT_INSTALLED)
    if python.reason:
        raise NoVision(python.reason)
    version = python.versions["mlx-vlm"]
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if not _FROM <= numbers < _BEFORE:
        raise NoVision(f"mlx-vlm {version} is not known to this kit: it needs 0.7.10 or newer, below 0.8")
    return python


@functools.cache
def _named(given: str) -> Python:
    python = packages_of(Path(given), _PACKAGES, VARIABLE)
    if not python.reason and (lacks := _said(given, _LACKS % (_BESIDE,))):
        return Python(python.python, reason=f"{given} (from {VARIABLE}) has mlx-vlm, but does not have {lacks}")
    return python


def _said(python: str, program: str) -> str:
    """Return what a line of Python prints there; nothing where it fails."""
    with TemporaryFolder() as folder:
        said = process.ask([python, "-I", "-c", program], of_a_child(folder), folder, seconds=60)
    return "" if said.code else said.out.strip()


@functools.cache
def _folder(python: str, name: str) -> Path | None:
    return Path(said) if (said := _said(python, _WHERE % name)) else None


def package_folder(python: Python, name: str) -> Path | None:
    """Return where a package lies in a Python; None where it cannot be found. Nothing of it is imported."""
    try:
        return _folder(str(python.python), name)
    except process.FAILED:
        return None


def generate(python: Python, order: Mapping[str, object], log: Path, limit: float) -> Answer:
    """Let mlx-vlm generate as `engine/speculating` says; what it prints goes to `log`, and nothing outlives it."""

    def surroundings(folder: TemporaryFolder) -> dict[str, str]:
        return environment(folder.path, 1)

    with Child(python, "mlx_publish.engine.speculating", "mlx-vlm", surroundings, log) as child:
        return child.ask(order, limit)
