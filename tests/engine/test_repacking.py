"""Weights of a quantized source that become MLX's by moving their bits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- what was written is read by it
import numpy as np
import pytest
from numpy.typing import NDArray

from fp8_source import fp8_source, write_any
from pipeline import User
from tensor_file import read_tensors

Float = NDArray[np.float32]


def load(file: Path) -> dict[str, mx.array]:
    """The tensors of a file as MLX reads them."""
    arrays: Any = mx.load(str(file))
    return dict(arrays)


def made(user: User, source: Path, variants: str, *more: str) -> Path:
    """Convert, and return the folder of the variants."""
    user.run("convert", "--source", source, "--variants", variants, "--work", source.parent / "work", *more)
    return source.parent / "work" / source.name


def dequantized(folder: Path, names: Sequence[str]) -> dict[str, Float]:
    """The weights of a converted model, as MLX computes them from codes and scales."""
    arrays, config = load(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())
    block, weights = config["quantization"], {}
    for name in names:
        stem = name.removesuffix("weight")
        biases = arrays.get(f"{stem}biases")
        packed = arrays[name], arrays[f"{stem}scales"], biases
        weights[name] = np.array(mx.dequantize(*packed, **block, stream=mx.cpu, dtype=mx.float32))
    return weights


@pytest.mark.parametrize("block", [(128, 128), (64, 32), (1, 128), (128, 96), (1000, 1000)], ids=str)
def test_fp8_with_powers_of_two_as_scales_is_mxfp8_without_any_rounding(
    tmp_path: Path, user: User, block: tuple[int, int]
) -> None:
    exact = fp8_source(tmp_path / "m", block=block)
    folder = made(user, tmp_path / "m", "mxfp8") / "mxfp8" / "model"
    weights = dequantized(folder, list(exact))
    for name, values in exact.items():
        assert np.array_equal(weights[name], values), name


def test_the_bytes_of_a_repacked_weight_are_those_of_the_source(tmp_path: Path, user: User) -> None:
    # Rounding anew would write another byte where the largest number of a group is below half of what mxfp8 reaches.
    fp8_source(tmp_path / "m")
    folder = made(user, tmp_path / "m", "mxfp8") / "mxfp8" / "model"
    arrays, source = load(folder / "model.safetensors"), load(tmp_path / "m" / "model.safetensors")
    names = [name for name in source if f"{name}_scale_inv" in source]
    assert len(names) == 14
    for name in names:
        assert np.array_equal(np.array(arrays[name].view(mx.uint8)), np.array(source[name])), name


def test_other_scales_are_rounded_anew(tmp_path: Path, user: User) -> None:
    exact = fp8_source(tmp_path / "m", powers=False)
    folder = made(user, tmp_path / "m", "mxfp8,bf16")
    weights = dequantized(folder / "mxfp8/model", list(exact))
    off = max(float(np.abs(weights[name] - values).max() / np.abs(values).max()) for name, values in exact.items())
    assert 0 < off < 0.07
    plain = read_tensors(folder / "bf16/model/model.safetensors")
    for name, values in exact.items():
        assert (
            np.abs((plain[name].astype(np.uint32) << 16).view(np.float32) - values).max() < np.abs(values).max() / 256
        )


def test_a_scale_of_one_tensor_that_is_no_power_of_two_is_rounded_there_alone(tmp_path: Path, user: User) -> None:
    exact = fp8_source(tmp_path / "m")
    file, one = tmp_path / "m" / "model.safetensors", "model.layers.1.mlp.up_proj.weight"
    arrays = {name: np.array(a.view(mx.uint16) if a.dtype == mx.bfloat16 else a) for name, a in load(file).items()}
    arrays[f"{one}_scale_inv"] = arrays[f"{one}_scale_inv"] * np.float32(1.25)
    exact[one] = exact[one] * np.float32(1.25)
    write_any(file, arrays)
    weights = dequantized(made(user, tmp_path / "m", "mxfp8") / "mxfp8" / "model", list(exact))
    assert {name for name, values in exact.items() if not np.array_equal(weights[name], values)} == {one}
