"""Weights in 4-bit floats (E2M1), two in a byte, the lower half first: NVFP4 and MXFP4 of several makers.

NVFP4: value = float * scale of its 16 numbers (E4M3) * a scale of the tensor, by which compressed-tensors
(`weight_global_scale`) divides and ModelOpt (`weight_scale_2`) multiplies. MXFP4: value = float * power of two of its
32 numbers. ModelOpt keeps the experts of Llama 4 and gpt-oss as (experts, in / 2, out), packed along `in`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from mlx_publish.model.packed_blocks import Grid, Sizes, declared_sizes, misfit, missing
from mlx_publish.model.packed_fp8 import scales_of
from mlx_publish.model.packed_weight import Found, PackedWeight
from mlx_publish.model.weights import TensorInfo

_BYTES = ("U8", "I8", "F4")
_FORMS = {"F8_E4M3": ("nvfp4", "e4m3", 16), "F8_E8M0": ("mxfp4", "e8m0", 32), "U8": ("mxfp4", "e8m0", 32)}
"""By the type of the scales: the form, what their bytes are, and how many numbers share one."""


def find_fp4(block: Mapping[str, object], by_name: Mapping[str, TensorInfo]) -> Found:
    """Return the weights in 4-bit floats. `Refused` where parts are missing or their shapes do not fit."""
    declared, weights = declared_sizes(block), []
    for name, tensor in by_name.items():
        if tensor.dtype in _BYTES and len(tensor.shape) in (2, 3) and tensor.size:
            plain = name.removesuffix("_packed")
            scales = scales_of(plain, by_name)
            if scales is None and plain != name and _says_four(block, tensor):
                raise missing(name, f"{plain}_scale")
            if scales is not None and scales.dtype in _FORMS and (found := _weight(plain, tensor, scales, declared)):
                weights.append(_with_global(found, plain, by_name))
    return Found(tuple(weights))


def _says_four(block: Mapping[str, object], tensor: TensorInfo) -> bool:
    return tensor.dtype == "U8" and "fp4-pack" in str(block.get("format"))


def _weight(plain: str, tensor: TensorInfo, scales: TensorInfo, declared: Sizes) -> PackedWeight | None:
    form, kind, group = _FORMS[scales.dtype]
    groups = tuple({group, *(width for height, width in declared if height == 1)})
    *stack, rows, columns = tensor.shape
    wide = (*stack, rows, columns if tensor.dtype == "F4" else 2 * columns)
    grid, shape, packed = _grid(wide, scales, tuple((1, size) for size in groups)), wide, "columns"
    if grid is None and len(tensor.shape) > 2 and tensor.dtype != "F4":
        shape, packed = (*stack, 2 * rows, columns), "rows"
        grid = _grid(shape, scales, tuple((size, 1) for size in groups))
    if grid is None:
        if scales.dtype == "U8":
            return None  # bytes beside bytes say nothing of themselves
        raise misfit(scales, wide, ((1, group),))
    options: dict[str, int | float | str | bool] = {"float": "e2m1", "scale": kind, "each": grid.each, "packed": packed}
    return PackedWeight(plain, form, shape, {"weight": tensor.name, "scales": scales.name}, 4, grid.block, options)


def _grid(shape: tuple[int, ...], scales: TensorInfo, sizes: Sizes) -> Grid | None:
    """Return how scales of groups lie; scales for rows or for all of a tensor are none of groups."""
    rows, columns = shape[-2:]
    own = scales.shape[len(shape) - 2 :]
    fitting = [
        (height, width)
        for height, width in sizes
        if own == (rows // height, columns // width) and not rows % height and not columns % width
    ]
    if len(scales.shape) != len(shape) or scales.shape[: len(shape) - 2] != shape[:-2] or len(fitting) != 1:
        return None
    return Grid(fitting[0], each=len(shape) > 2)


def _with_global(weight: PackedWeight, plain: str, by_name: Mapping[str, TensorInfo]) -> PackedWeight:
    """Add the scale of the tensor, which NVFP4 always has. `Refused` where it is missing or does not fit."""
    names = {f"{plain}_global_scale": "over", f"{plain}_scale_2": "times", f"{plain}_weight_scale_2": "times"}
    found = [(by_name[name], use) for name, use in names.items() if name in by_name]
    if not found:
        if weight.form == "nvfp4":
            packed = weight.parts["weight"] != plain
            raise missing(weight.parts["weight"], f"{plain}_{'global_scale' if packed else 'scale_2'}")
        return weight
    scale, use = found[0]
    stack = prod(weight.shape[:-2])
    parts = scale.size // stack
    stacked = scale.shape[:1] == tuple(weight.shape[:-2]) and scale.size == stack * parts
    even = parts == 1 or (weight.options["packed"] == "columns" and parts == 2 and not weight.shape[-2] % 2)
    if scale.dtype not in ("F32", "BF16", "F16") or len(found) > 1 or not (scale.size == 1 or (stacked and even)):
        raise misfit(scale, weight.shape, ())
    options = {**weight.options, "global": use}
    return PackedWeight(
        plain, weight.form, weight.shape, {**weight.parts, "global_scale": scale.name}, 4, weight.block, options
    )
