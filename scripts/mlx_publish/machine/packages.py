"""Versions of the packages that make and measure a model."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

MOST_DEVIATION = 1e-2
"""Largest deviation of a GPU's products from the CPU's, as a share of the largest number; float16 makes some 1e-3."""


def versions(*names: str) -> dict[str, str]:
    """Versions of packages, of all that make and measure a model where none is named; a missing one is left out."""
    installed = {}
    for name in names or ("mlx-publish", "mlx", "mlx-lm", "transformers", "tokenizers", "huggingface-hub"):
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed
