"""Weights in 8-bit floats with a scale for each block, each row, or the whole tensor.

Source: `quant_method: fp8` as DeepSeek V3 has it: value = float of the byte * `weight_scale_inv` of its block.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlx_publish.errors import Refused
from mlx_publish.model.packed_weight import Found, PackedWeight
from mlx_publish.model.weights import TensorInfo

_SCALES = ("_scale_inv", "_scale")
_FLOATS = ("F32", "BF16", "F16")


def find_fp8(block: Mapping[str, object], by_name: Mapping[str, TensorInfo]) -> Found:
    """Return the weights in F8_E4M3 or F8_E5M2 that have scales. `Refused` where their shapes do not fit."""
    weights, beside = [], {}
    for name, tensor in by_name.items():
        if tensor.dtype not in ("F8_E4M3", "F8_E5M2") or len(tensor.shape) != 2:
            continue
        scales = next((by_name[name + end] for end in _SCALES if name + end in by_name), None)
        if scales is None or scales.dtype not in _FLOATS:
            continue
        options = {"float": tensor.dtype.removeprefix("F8_").lower()}
        parts = {"weight": name, "scales": scales.name}
        weights.append(PackedWeight(name, "fp8", tensor.shape, parts, 8, _block(block, tensor, scales), options))
        for end in ("input_scale", "activation_scale"):
            if (of_input := f"{name.removesuffix('weight')}{end}") in by_name:
                beside[of_input] = "scales what goes into the layer"
    return Found(tuple(weights), beside)


def _block(block: Mapping[str, object], tensor: TensorInfo, scales: TensorInfo) -> tuple[int, int]:
    """Return rows and columns that share a scale, by the config and the shape of the scales; 0 stands for all."""
    rows, columns = tensor.shape
    if scales.size == 1:
        return 0, 0
    if scales.shape in ((rows,), (rows, 1)):
        return 1, 0
    sizes = block.get("weight_block_size")
    if isinstance(sizes, list) and len(sizes) == 2 and all(type(size) is int and size > 0 for size in sizes):
        if scales.shape == (-(-rows // sizes[0]), -(-columns // sizes[1])):
            return sizes[0], sizes[1]
        fault = f"blocks of {sizes[0]} x {sizes[1]}, as config.json says"
    else:
        fault = "one scale for each block, row or tensor"
    raise Refused(
        f"has the shape {list(scales.shape)}, which does not fit a weight of {[rows, columns]} with {fault}",
        check="weights-numbers",
        place=scales.name[:200],
        remedy="Compare quantization_config with the weights; download the source again if it is not whole.",
    )
