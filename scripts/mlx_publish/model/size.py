"""How large a converted model will be, and how much memory its conversion takes, from the headers of its source."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from mlx_publish.methods.plan import most_bytes, narrowest_group
from mlx_publish.model.weights import TensorInfo
from mlx_publish.recipes.recipe import Variant

_DTYPE_BITS = {"float32": 32, "bfloat16": 16, "float16": 16}


_PROGRAMS, _CORE, _CORE_AND_VARIANT = 260 << 20, 12 << 20, 7 << 20
"""Bytes of a conversion's processes, of a core's buffers, and of those that it has for each variant; measured, with
some room."""
_LAYER = re.compile(r"\.(\d+)\.")


def conversion_memory(tensors: Iterable[TensorInfo], variants: int, cores: int) -> tuple[int, int]:
    """Return the bytes of memory that a conversion takes where all rows are read as they lie, and at most.

    The second holds the largest layer twice besides: one that a class computes of several tensors is in memory with
    what it is made of.
    """
    layers = Counter[str]()
    for tensor in tensors:
        match = _LAYER.search(tensor.name)
        layers[match[1] if match else tensor.name] += tensor.nbytes
    usual = _PROGRAMS + cores * (_CORE + variants * _CORE_AND_VARIANT)
    return usual, usual + 2 * max(layers.values(), default=0)


def estimate_bytes(tensors: Iterable[TensorInfo], variant: Variant, declared: str | None = None) -> int:
    """Return the bytes of the converted weights, within a few percent; an upper bound for mixed recipes.

    `declared` is the config's `torch_dtype`, which mlx-lm converts to where the variant names no dtype.
    """
    wide = _DTYPE_BITS.get(variant.dtype or declared or "")
    total = int(sum(_bits(tensor, variant, wide) for tensor in tensors) / 8)
    most = most_bytes(variant)
    return total if most is None else min(total, max(0, most))


def _bits(tensor: TensorInfo, variant: Variant, wide: int | None) -> float:
    group = narrowest_group(variant)
    own = tensor.size * wide if wide else 8 * tensor.nbytes
    if group is None or len(tensor.shape) < 2 or tensor.shape[-1] % group or not tensor.size:
        return own
    return tensor.size * variant.quantizer.bits_per_weight(variant.form, own / tensor.size)
