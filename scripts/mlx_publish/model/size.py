"""How large a converted model will be, from the headers of its source."""

from __future__ import annotations

from collections.abc import Iterable

from mlx_publish.model.weights import TensorInfo
from mlx_publish.recipes.recipe import Variant

_DTYPE_BITS = {"float32": 32, "bfloat16": 16, "float16": 16}


def estimate_bytes(tensors: Iterable[TensorInfo], variant: Variant, declared: str | None = None) -> int:
    """Return the bytes of the converted weights, within a few percent; an upper bound for mixed recipes.

    `declared` is the config's `torch_dtype`, which mlx-lm converts to where the variant names no dtype.
    """
    wide = _DTYPE_BITS.get(variant.dtype or declared or "")
    return int(sum(_bits(tensor, variant, wide) for tensor in tensors) / 8)


def _bits(tensor: TensorInfo, variant: Variant, wide: int | None) -> float:
    group = variant.form.group_size
    own = tensor.size * wide if wide else 8 * tensor.nbytes
    if group is None or len(tensor.shape) < 2 or tensor.shape[-1] % group or not tensor.size:
        return own
    return tensor.size * variant.method.bits_per_weight(variant.form, own / tensor.size)
