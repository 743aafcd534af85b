"""How large a converted model will be, from the headers of its source."""

from __future__ import annotations

from collections.abc import Iterable

from mlx_publish.model.weights import TensorInfo
from mlx_publish.recipe import Variant

# Bits of scale (and bias) for each group: two halves for affine, one byte for the others.
_GROUP_BITS = {"affine": 32, "mxfp4": 8, "mxfp8": 8, "nvfp4": 8}
_DTYPE_BITS = {"float32": 32, "bfloat16": 16, "float16": 16}
_MIXED_BITS = 6  # no mixed recipe has more


def estimate_bytes(tensors: Iterable[TensorInfo], variant: Variant) -> int:
    """Bytes of the converted weights, within a few percent; an upper bound for mixed recipes."""
    return int(sum(_bits(tensor, variant) for tensor in tensors) / 8)


def _bits(tensor: TensorInfo, variant: Variant) -> float:
    group = variant.q_group_size
    if group is None or len(tensor.shape) < 2 or tensor.shape[-1] % group:
        own = 8 * tensor.nbytes
        return tensor.size * _DTYPE_BITS[variant.dtype] if variant.dtype else own
    return tensor.size * ((variant.q_bits or _MIXED_BITS) + _GROUP_BITS[variant.q_mode] / group)
