"""Whether a plan can reach its target at all, by the headers of the source alone: before anything is downloaded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from mlx_publish.context import Context
from mlx_publish.errors import BadInput
from mlx_publish.machine.macs import need, smallest_mac, usable
from mlx_publish.methods.plan import Target, target_of
from mlx_publish.model.cache import cache_of
from mlx_publish.model.config import ModelConfig
from mlx_publish.model.weights import TensorInfo
from mlx_publish.recipes.recipe import Variant
from mlx_publish.source.resolve import metadata_of
from mlx_publish.text.numbers import size

_LEAST_BITS, _WIDEST, _NARROWEST = 2, 128, 32
"""Fewest bits of a plan, the groups that cost least, and the smallest ones."""
_WIDE = 16
"""Bits of a scale, a bias, and of what is not quantized."""

_FLOOR, _FLOORS = "its floor", "; embeddings, heads and routers have floors above that"


def judge_reach(context: Context, variants: Sequence[Variant]) -> None:
    """Raise `BadInput` for the first variant whose target no plan can reach, whatever is measured."""
    planned = [(variant, target) for variant in variants if (target := target_of(variant)) and not target.file]
    if not planned:
        return
    tensors = metadata_of(context).language_tensors
    least, weights = _least(tensors), sum(tensor.size for tensor in tensors)
    for variant, target in planned:
        cache = cache_bytes(context, variant, target)
        if target.memory_gb is not None and need(least, cache) > usable(target.memory_gb << 30):
            raise too_little(context, variant, target, (least, weights), cache)
        if target.bits_per_weight is not None and 8 * least > target.bits_per_weight * weights:
            raise too_little(context, variant, target, (least, weights), at="2 bits, the fewest there are")


def _least(tensors: Iterable[TensorInfo]) -> int:
    """Return the bytes of a model whose matrices all have the fewest bits; its floors are not known here."""
    bits = 0
    for tensor in tensors:
        quantized = len(tensor.shape) > 1 and tensor.shape[-1] % _NARROWEST == 0
        bits += tensor.size * _LEAST_BITS + tensor.size * 2 * _WIDE // _WIDEST if quantized else tensor.size * _WIDE
    return bits // 8


def cache_bytes(context: Context, variant: Variant, target: Target) -> int:
    """Return what the cache takes at the context of a `fits` target; 0 for any other. `BadInput` if nobody knows."""
    if target.memory_gb is None:
        return 0
    config: ModelConfig = metadata_of(context).config
    cache = cache_of(config)
    place, key = context.recipe.key_of(variant, "fits")
    if cache is None:
        raise BadInput(
            "the size of this model's cache is not known from its config",
            place=place,
            key=key,
            remedy="Use target_bpw in place of fits.",
        )
    return cache.bytes_at(target.context) or 0


def too_little(
    context: Context, variant: Variant, target: Target, least: tuple[int, int], cache: int = 0, at: str = _FLOOR
) -> BadInput:
    """Say what can be reached; `least` are the fewest bytes of all weights, and the number of weights."""
    place, key = context.recipe.key_of(variant, target.key)
    least_bytes, weights = least
    if target.memory_gb is not None:
        mac = smallest_mac(least_bytes + cache)
        return BadInput(
            f"{target.words} cannot be reached: this model needs at least {size(need(least_bytes, cache))}, and a Mac "
            f"with {target.memory_gb} GB lets its GPU use {size(usable(target.memory_gb << 30))}",
            place=place,
            key=key,
            remedy=f"Use fits: {mac}GB, or a shorter context." if mac else "Use a smaller model.",
        )
    bits = 8 * least_bytes / (weights or 1)
    return BadInput(
        f"{target.words} cannot be reached: with every module at {at}, this model has {bits:.3f}",
        place=place,
        key=key,
        remedy=f"Use target_bpw: {math.ceil(10 * bits) / 10:g} or more{_FLOORS if at != _FLOOR else ''}.",
    )
