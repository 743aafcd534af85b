"""Tiny models whose layers are packed, and the same ones with the numbers that the packed ones stand for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import packed_writers as writers
from packed_writers import Layer, Numbers
from tensor_file import float32, read_tensors, write_tensors

Write = Callable[[Layer], Mapping[str, Numbers]]


def quantized(values: Numbers, group: int, *, symmetric: bool, permuted: bool, seed: int) -> Layer:
    """The layer of 4 bits that is nearest to some weights, (rows, columns), with scales in float16."""
    rows, columns = values.shape
    index = np.arange(columns) // group
    if permuted:
        index = np.random.default_rng(seed).permutation(index)
    groups = columns // group
    scales, zeros = np.empty((rows, groups), np.float16), np.full((rows, groups), 8)
    whole = np.empty((rows, columns), int)
    for number in range(groups):
        part = values[:, index == number]
        low, high = np.minimum(part.min(1), 0), np.maximum(part.max(1), 0)
        steps = np.abs(part).max(1) / 7.5 if symmetric else (high - low) / 15
        scales[:, number] = np.maximum(steps, 1e-4)
        exact = scales[:, number].astype(np.float32)
        if not symmetric:
            zeros[:, number] = np.clip(np.rint(-low / exact), 1, 15)
        whole[:, index == number] = np.clip(np.rint(part / exact[:, None]) + zeros[:, number, None], 0, 15)
    return Layer(whole, zeros, scales, index, 4, group)


def packed(
    model: Path,
    folder: Path,
    write: Write,
    block: Mapping[str, Any],
    *,
    group: int = 32,
    symmetric: bool = False,
    permuted: bool = False,
) -> tuple[Path, Path]:
    """Make of a model in bfloat16 one whose projections are packed, and its twin in plain numbers."""
    source, twin = folder / "packed", folder / "plain"
    for path in (source, twin):
        shutil.copytree(model, path)
    tensors = read_tensors(model / "model.safetensors")
    plain, held = dict(tensors), dict(tensors)
    for seed, (name, bits) in enumerate(sorted(tensors.items())):
        if name.endswith("_proj.weight") and bits.ndim == 2:
            of = quantized(float32(bits), group, symmetric=symmetric, permuted=permuted, seed=seed)
            del held[name]
            held |= writers.named(name.removesuffix(".weight"), write(of))
            plain[name] = writers.rounded(of.values, "bfloat16")
    write_tensors(source / "model.safetensors", held)
    write_tensors(twin / "model.safetensors", plain)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    (source / "config.json").write_text(json.dumps(config | {"quantization_config": block}), encoding="utf-8")
    return source, twin
