"""Weights in 8-bit floats with scales for blocks, rows, columns, experts or the whole tensor; MXFP8 is one of them.

In all of them value = float of the byte * scale, whatever the scale is called: DeepSeek's and MiniMax's
`weight_scale_inv`, `weight_scale` of compressed-tensors, FBGEMM and ModelOpt, `scale` of DeepSeek V4, Mistral's
`qscale_weight`. Scales of one byte are powers of two (E8M0 of the OCP microscaling formats).
"""

from __future__ import annotations

from collections.abc import Mapping

from mlx_publish.errors import Refused
from mlx_publish.model.packed_blocks import Grid, Sizes, declared_sizes, grid_of, misfit
from mlx_publish.model.packed_weight import Found, PackedWeight
from mlx_publish.model.weights import TensorInfo

FP8 = {"F8_E4M3": "e4m3", "F8_E5M2": "e5m2"}
_FLOATS = ("F32", "BF16", "F16")
_POWERS = ("F8_E8M0", "U8")
_USUAL: Sizes = ((128, 128), (1, 128), (32, 32), (1, 32))
"""Blocks of models whose config does not name theirs."""


def find_fp8(block: Mapping[str, object], by_name: Mapping[str, TensorInfo]) -> Found:
    """Return the weights in F8_E4M3 or F8_E5M2 that have scales. `Refused` where their shapes do not fit."""
    weights = []
    for name, tensor in by_name.items():
        if tensor.dtype in FP8 and len(tensor.shape) in (2, 3) and tensor.size:
            scales = scales_of(name, by_name)
            if scales is not None and scales.dtype in (*_FLOATS, *_POWERS):
                weights.append(_weight(block, tensor, scales))
    return Found(tuple(weights))


def scales_of(name: str, by_name: Mapping[str, TensorInfo]) -> TensorInfo | None:
    """Return the scales of a weight, by whatever name a maker gives them. `Refused` if there are two sets."""
    ends = [f"{name}_scale_inv", f"{name}_scale"]
    if name.endswith(".weight"):
        stem = name.removesuffix("weight")
        ends += [f"{stem}scale", f"{stem}qscale_weight"]
    else:
        ends += [f"{name}_weight_scale_inv", f"{name}_weight_scale"]
    found = [by_name[end] for end in ends if end in by_name]
    if len(found) > 1:
        raise Refused(
            f"has two sets of scales, {found[0].name[:200]} and {found[1].name[:200]}",
            check="weights-numbers",
            place=name[:200],
            remedy="Remove the one that does not belong to it.",
        )
    return found[0] if found else None


def _weight(block: Mapping[str, object], tensor: TensorInfo, scales: TensorInfo) -> PackedWeight:
    powers = scales.dtype in _POWERS
    grid = _grid(block, tensor, scales, powers=powers)
    options: dict[str, int | float | str | bool] = {
        "float": FP8[tensor.dtype],
        "scale": "e8m0" if powers else "float",
        "each": grid.each,
    }
    parts = {"weight": tensor.name, "scales": scales.name}
    return PackedWeight(tensor.name, "fp8", tensor.shape, parts, 8, grid.block, options)


def _grid(block: Mapping[str, object], tensor: TensorInfo, scales: TensorInfo, *, powers: bool) -> Grid:
    """Return how scales lie, by their shape and the sizes that the config names, or by usual ones where it does not."""
    declared = declared_sizes(block)
    turned = block.get("quant_method") == "fbgemm_fp8" and len(tensor.shape) > 2
    grid = grid_of(tensor.shape, scales.shape, declared, turned=turned)
    if grid is None and (powers or all(height == 1 for height, _ in declared)):  # groups may be those of integers
        grid = grid_of(tensor.shape, scales.shape, _USUAL, turned=turned)
    if grid is None:
        raise misfit(scales, tensor.shape, declared)
    return grid
