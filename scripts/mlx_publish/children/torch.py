"""Find a Python that has torch, and let it compare in a child process. What fails there is a reason, not an error."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path

from mlx_publish.children.environment import of_a_child
from mlx_publish.children.other_python import Answer, Child, Python, packages_of
from mlx_publish.text.temporary import TemporaryFolder

__all__ = ["NOT_INSTALLED", "VARIABLE", "Answer", "Torch", "TorchChild", "compare", "find_torch"]

VARIABLE = "MLX_PUBLISH_REFERENCE_PYTHON"
NOT_INSTALLED = (
    "torch is not installed: run 'sh scripts/bootstrap.sh -s reference' in a checkout of mlx-publish, "
    "or pip install torch 'transformers>=5'"
)
OLDEST_TRANSFORMERS = 5  # the first that reads both spellings of rope
_PACKAGES = ("torch", "transformers")
_LIMIT = 3 * 3600.0  # seconds


class Torch(Python):
    """A Python that has torch and transformers, with their versions; or the `reason` for which there is none."""


def find_torch() -> Torch:
    """Return the Python that MLX_PUBLISH_REFERENCE_PYTHON names, else this one."""
    given = os.environ.get(VARIABLE)
    torch = _named(Path(given)) if given else _here()
    version = torch.versions.get("transformers", "")
    if not torch.reason and int(version.split(".")[0]) < OLDEST_TRANSFORMERS:
        return replace(torch, reason=f"transformers {version} is too old: {OLDEST_TRANSFORMERS} is needed")
    return torch


def compare(torch: Torch, source: Path, logits: Path, log: Path, limit: float = _LIMIT) -> Answer:
    """Compare the model in `source`, as transformers reads it, with `logits`, a file of `engine/reference_logits`.

    What the child prints goes to `log`. It may take `limit` seconds; nothing outlives it.
    """
    if torch.reason:
        return Answer(None, torch.reason)
    with TorchChild(torch, log) as child:
        return child.ask({"source": str(source), "logits": str(logits)}, limit)


class TorchChild(Child):
    """A child process with torch that answers one order after the other; to load torch takes seconds."""

    def __init__(self, torch: Torch, log: Path) -> None:
        """Remember what to start; what it prints goes to `log`."""
        super().__init__(torch, "mlx_publish.torch_check", "torch", _environment, log)


def _here() -> Torch:
    python = Path(sys.executable)
    if not all(importlib.util.find_spec(name) for name in _PACKAGES):
        return Torch(python, reason=NOT_INSTALLED)
    return Torch(python, {name: importlib.metadata.version(name) for name in _PACKAGES})


def _named(python: Path) -> Torch:
    return Torch(**vars(packages_of(python, _PACKAGES, VARIABLE)))


def _environment(folder: TemporaryFolder) -> dict[str, str]:
    """Return an environment without a token and without a network."""
    own = folder.path
    return of_a_child(
        own,
        HF_HOME=str(own / "hub"),
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        TORCHINDUCTOR_CACHE_DIR=str(own / "inductor"),
    )
