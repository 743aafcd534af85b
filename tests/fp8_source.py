"""Tiny models whose weights are held in 8-bit floats, written by numpy from known numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import make_model
from tensor_file import float32, read_tensors

Float = NDArray[np.float32]
_NAMES = {"uint8": "F8_E4M3", "uint16": "BF16", "float16": "F16", "float32": "F32", "int32": "I32", "uint32": "U32"}
NUMBERS = np.array(
    [
        (-1 if code >> 7 else 1)
        * ((code & 7) / 512 if not code >> 3 & 15 else (1 + (code & 7) / 8) * 2.0 ** ((code >> 3 & 15) - 7))
        for code in range(256)
    ],
    np.float32,
)
"""What a byte of e4m3 stands for, without its two NaNs, by which nothing is written."""


def fp8_source(
    folder: Path,
    *,
    block: tuple[int, int] = (128, 128),
    powers: bool = True,
    hidden: int = 128,
    seed: int = 0,
    layers: int = 2,
) -> dict[str, Float]:
    """Make a llama in `folder` with its layers in blocks of e4m3; returns the exact weights by name, float32.

    With `powers` the scales are powers of two.
    """
    make_model(folder, hidden=hidden, seed=seed, layers=layers)
    tensors: dict[str, NDArray[Any]] = dict(read_tensors(folder / "model.safetensors"))
    exact: dict[str, Float] = {}
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        codes, scales = in_fp8(float32(tensors[name]), block, powers=powers)
        tensors[name], tensors[f"{name}_scale_inv"] = codes, scales
        exact[name] = NUMBERS[codes] * spread(scales, block, codes.shape)
    write_any(folder / "model.safetensors", tensors)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "quant_method": "fp8",
        "weight_block_size": list(block),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return exact


def in_fp8(values: Float, block: tuple[int, int], *, powers: bool) -> tuple[NDArray[np.uint8], Float]:
    """Return the bytes of e4m3 and the scale of each block, by rounding to nearest."""
    (rows, columns), (high, wide) = values.shape, block
    padded = np.zeros((-(-rows // high) * high, -(-columns // wide) * wide), np.float32)
    padded[:rows, :columns] = values
    blocks = np.abs(padded.reshape(padded.shape[0] // high, high, -1, wide)).max(axis=(1, 3))
    scales = np.where(blocks == 0, 1, blocks / 448).astype(np.float32)
    if powers:
        scales = (2.0 ** np.ceil(np.log2(scales))).astype(np.float32)
    ordered = NUMBERS[:127]
    wanted = np.abs(values) / spread(scales, block, values.shape)
    upper = np.minimum(np.searchsorted(ordered, wanted), 126)
    lower = np.maximum(upper - 1, 0)
    nearest = np.where(wanted - ordered[lower] < ordered[upper] - wanted, lower, upper)
    return (nearest | (values < 0) << 7).astype(np.uint8), scales


def spread(scales: Float, block: tuple[int, int], shape: tuple[int, ...]) -> Float:
    """Return the scale of each number."""
    return scales.repeat(block[0], 0)[: shape[0]].repeat(block[1], 1)[:, : shape[1]]


def write_any(path: Path, tensors: Mapping[str, NDArray[Any]], types: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file; `types` are those that numpy's own does not tell, by name."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(tensors):
        start, end = end, end + tensors[name].nbytes
        dtype = (types or {}).get(name, _NAMES[tensors[name].dtype.name])
        header[name] = {"dtype": dtype, "shape": list(tensors[name].shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in sorted(tensors):
            file.write(np.ascontiguousarray(tensors[name]).data)
