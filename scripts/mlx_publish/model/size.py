"""How large a converted model will be, and how much memory its conversion takes, from the headers of its source."""

from __future__ import annotations

import math
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
_UNPACKING = 20 << 20
"""Bytes that a core has besides where the source is quantized."""
_LAYER = re.compile(r"\.(\d+)\.")


def conversion_memory(
    tensors: Iterable[TensorInfo], variants: int, cores: int, *, packed: bool = False
) -> tuple[int, int]:
    """Return the bytes of memory that a conversion takes where all rows are read as they lie, and at most.

    `packed`: the source is quantized. The second number holds the largest layer twice besides: one that a class
    computes of several tensors is in memory with what it is made of.
    """
    layers = Counter[str]()
    for tensor in tensors:
        match = _LAYER.search(tensor.name)
        layers[match[1] if match else tensor.name] += tensor.nbytes
    usual = _PROGRAMS + cores * (_CORE + variants * _CORE_AND_VARIANT + packed * _UNPACKING)
    return usual, usual + 2 * max(layers.values(), default=0)


SHARD = 5 << 30
"""Bytes of a weight file at most, unless one tensor is larger: mlx-lm's MAX_FILE_SIZE_GB."""


def estimate_bytes(tensors: Iterable[TensorInfo], variant: Variant, declared: str | None = None) -> int:
    """Return the bytes of the converted weights, within a few percent; an upper bound for mixed recipes.

    `declared` is the config's `torch_dtype`, which mlx-lm converts to where the variant names no dtype.
    """
    wide, group = _DTYPE_BITS.get(variant.dtype or declared or ""), narrowest_group(variant)
    # Tensors of one shape and size come by the ten thousand, and a variant works out what it is each time.
    alike = Counter((tensor.shape, tensor.nbytes) for tensor in tensors)
    total = int(sum(count * _bits(*kind, variant, wide, group) for kind, count in alike.items()) / 8)
    most = most_bytes(variant)
    return total if most is None else min(total, max(0, most))


def _bits(shape: tuple[int, ...], nbytes: int, variant: Variant, wide: int | None, group: int | None) -> float:
    """Return the bits of a tensor of `nbytes` in the source; `wide` are those of a weight that is not quantized."""
    size = math.prod(shape)
    own = size * wide if wide else 8 * nbytes
    if group is None or len(shape) < 2 or shape[-1] % group or not size:
        return own
    return size * variant.quantizer.bits_per_weight(variant.form, own / size)
