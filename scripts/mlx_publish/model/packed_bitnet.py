"""Ternary weights as transformers packs them for BitNet: four rows to a byte, with one scale for the tensor.

Source: integrations/bitnet.py of transformers. Bits 2i and 2i + 1 of byte row j are row i * (rows / 4) + j, one more
than the number. BitLinear divides what it computes by the scale, AutoBitLinear multiplies.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlx_publish.model.packed_misfit import misfit, scales_beside
from mlx_publish.model.packed_weight import Found, PackedWeight
from mlx_publish.model.weights import TensorInfo

_PER_BYTE = 4


def find_bitnet(block: Mapping[str, object], by_name: Mapping[str, TensorInfo]) -> Found:
    """Return the weights in bytes of a config that says `bitnet`. `Refused` for what mlx-lm would compute otherwise."""
    if block.get("quant_method") != "bitnet":
        return Found()
    stems = [
        name.removesuffix(".weight")
        for name, tensor in by_name.items()
        if tensor.dtype == "U8" and name.endswith(".weight") and len(tensor.shape) == 2
    ]
    if stems and block.get("use_rms_norm") is True:
        raise misfit(
            f"{stems[0]}.weight",
            "belongs to layers that normalise what goes into them (use_rms_norm), which mlx-lm's do not",
            "Choose another source.",
        )
    divides = block.get("linear_class", "bitlinear") != "autobitlinear"
    return Found(tuple(_weight(stem, by_name, divides=divides) for stem in stems))


def _weight(stem: str, by_name: Mapping[str, TensorInfo], *, divides: bool) -> PackedWeight:
    packed = by_name[f"{stem}.weight"]
    scales = scales_beside(packed.name, by_name.get(f"{stem}.weight_scale"), f"{stem}.weight_scale"[-100:])
    if scales.size != 1:
        raise misfit(scales.name, f"has the shape {list(scales.shape)}; BitNet has one scale for a weight")
    shape = (packed.shape[0] * _PER_BYTE, packed.shape[1])
    parts = {"weight": packed.name, "scales": scales.name}
    return PackedWeight(packed.name, "bitnet", shape, parts, 2, (0, 0), {"divides": divides})
