"""Find a Python that has mlx-vlm, and let it generate in a child process. What fails there is a reason, not an error.

mlx-vlm has dependencies for sight and sound that a conversion of text has no use for, so it lives in a Python of its
own; of them, text needs only a few (scripts/vision_environment.py).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from mlx_publish.children.engine import environment
from mlx_publish.children.other_python import Answer, Child, Python, packages_of
from mlx_publish.text.temporary import TemporaryFolder

VARIABLE = "MLX_PUBLISH_VISION_PYTHON"
NOT_INSTALLED = "mlx-vlm is not installed here, so nothing shows that it generates with the drafter"
_PACKAGES = ("mlx-vlm", "mlx", "transformers")
_FROM, _BEFORE = (0, 7, 10), (0, 8)


class NoVision(ValueError):
    """There is no mlx-vlm that this kit knows; the message says why."""


def find_vision() -> Python:
    """Return the Python that MLX_PUBLISH_VISION_PYTHON names, else this one. Raises `NoVision`."""
    given = os.environ.get(VARIABLE)
    if given:
        python = packages_of(Path(given), _PACKAGES, VARIABLE)
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


def generate(python: Python, order: Mapping[str, object], log: Path, limit: float) -> Answer:
    """Let mlx-vlm generate as `engine/speculating` says; what it prints goes to `log`, and nothing outlives it."""

    def surroundings(folder: TemporaryFolder) -> dict[str, str]:
        return environment(folder.path, 1)

    with Child(python, "mlx_publish.engine.speculating", "mlx-vlm", surroundings, log) as child:
        return child.ask(order, limit)
