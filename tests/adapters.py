"""Adapters as PEFT and mlx-lm save them, written with numpy alone, and what they make of a weight, in float64."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensor_file import write_tensors

Tensors = dict[str, NDArray[Any]]
PREFIX = "base_model.model."
LORA: dict[str, object] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "acme/Tiny"}
"""A config of PEFT's, as small as it may be."""


def random(*shape: int, seed: int = 0, by: float = 0.05) -> NDArray[np.float32]:
    """Numbers of about the size of a trained adapter's."""
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * by).astype(np.float32)


def pair(module: str, rows: int, columns: int, rank: int = 4, seed: int = 0) -> Tensors:
    """Return lora_A and lora_B of a matrix."""
    a, b = random(rank, columns, seed=seed), random(rows, rank, seed=seed + 1)
    return {f"{PREFIX}{module}.lora_A.weight": a, f"{PREFIX}{module}.lora_B.weight": b}


def put_peft(folder: Path, tensors: Mapping[str, NDArray[Any]], **config: object) -> Path:
    """Write an adapter as PEFT does."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({**LORA, **config}))
    write_tensors(folder / "adapter_model.safetensors", tensors)
    return folder


def put_mlx(folder: Path, tensors: Mapping[str, NDArray[Any]], kind: str = "lora", rank: int = 4) -> Path:
    """Write an adapter as mlx-lm does, with a scale of 2."""
    folder.mkdir(parents=True)
    settings = {"rank": rank, "scale": 2.0, "dropout": 0.0}
    config = {"fine_tune_type": kind, "num_layers": 2, "lora_parameters": settings, "model": "acme/Tiny"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    write_tensors(folder / "adapters.safetensors", tensors)
    return folder


def fused(
    weight: NDArray[Any], left: NDArray[Any], right: NDArray[Any], scale: float, lengths: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    """Return weight + scale * left @ right in float64; with `lengths` its rows have those (DoRA)."""
    made: NDArray[np.float64] = weight.astype(np.float64) + scale * (left.astype(np.float64) @ right.astype(np.float64))
    if lengths is None:
        return made
    scaled: NDArray[np.float64] = made * (lengths / np.linalg.norm(made, axis=1))[:, None]
    return scaled
