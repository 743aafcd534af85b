"""Versions of the packages that make and measure a model."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

MOST_DEVIATION = 1e-2
"""Largest deviation of a GPU's products from the CPU's, as a share of the largest number; float16 makes some 1e-3."""

CUDA_PACKAGES = ("mlx-cuda-13", "mlx-cuda-12")
"""MLX's own builds for CUDA. Each has the file that `mlx-cpu` has as well, so one of them alone may be installed."""
_ALL = ("mlx-publish", "mlx", "mlx-lm", "transformers", "tokenizers", "huggingface-hub", *CUDA_PACKAGES)


def versions(*names: str) -> dict[str, str]:
    """Versions of packages, of all that make and measure a model where none is named; a missing one is left out."""
    installed = {}
    for name in names or _ALL:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def computes_by() -> Literal["metal", "cuda", "cpu"]:
    """Return what MLX computes by here, as far as can be told without loading it.

    A build for CUDA computes on a GPU or cannot be loaded at all.
    """
    if platform.system() == "Darwin":
        return "metal"
    return "cuda" if versions(*CUDA_PACKAGES) else "cpu"
