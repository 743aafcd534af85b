"""The one type of a result, and what may not be rounded to it: the biases that choose experts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten, tree_map_with_path

from mlx_publish.engine.towers import kept_types
from mlx_publish.evidence.conversion import Routing

TYPES = {"float16": mx.float16, "bfloat16": mx.bfloat16, "float32": mx.float32}
# One number for each expert, added to its score before the best are chosen. Trained in float32: the values lie close
# together on a common offset, and two that round to the same send tokens to the other expert.
_ROUTER_BIAS = re.compile(r"((correction|expert|router|routing)_bias|(router|gate)\.bias)$")


def cast_as_stored(
    model: nn.Module, dtype: str | None, config: Mapping[str, Any], rounded: dict[str, mx.Dtype] | None = None
) -> tuple[str | None, Routing]:
    """Cast a model, lazily, to the type that a variant is stored in, and return the name of that type.

    It is `dtype`, else the one that the source's config names, else that of most of its numbers. `rounded` is as for
    `cast`.
    """
    name = dtype or config.get("torch_dtype") or main_type(model)
    kept = kept_types(model, dtype)
    return name, cast(model, TYPES[name], rounded, kept) if name in TYPES else Routing()


def main_type(model: nn.Module) -> str | None:
    """Return the type that most numbers of a model have."""
    names = {dtype: name for name, dtype in TYPES.items()}
    sizes = Counter[str]()
    for _, array in tree_flatten(model.parameters()):
        if array.dtype in names:
            sizes[names[array.dtype]] += array.size
    return max(sizes, key=lambda name: sizes[name], default=None)


def cast(
    model: nn.Module,
    dtype: mx.Dtype,
    rounded: dict[str, mx.Dtype] | None = None,
    kept: Collection[str] = (),
) -> Routing:
    """Cast a model, lazily, but for what its class keeps and for router biases that it computes with in float32.

    The parameters `kept` stay as they are, too.

    Numbers are read of router biases that are rounded, and of nothing else. Where `rounded` is given they are not read
    either: it gets the paths of those biases and their new type, and `merged` counts them later.
    """
    wanted = getattr(model, "cast_predicate", lambda _: True)

    def may(path: str) -> bool:
        return path not in kept and bool(wanted(path))

    biases = {
        path: array
        for path, array in tree_flatten(model.parameters())
        if array.dtype == mx.float32 != dtype and may(path) and _ROUTER_BIAS.search(path)
    }

    def narrowed(path: str, array: mx.array) -> mx.array:
        # An array of the type already stays the same object, by which it is known again.
        changes = may(path) and mx.issubdtype(array.dtype, mx.floating) and array.dtype != dtype
        return array.astype(dtype) if changes else array

    model.update(tree_map_with_path(narrowed, model.parameters()))
    return _with_biases(model, biases, dtype, rounded) if biases else Routing()


def _with_biases(
    model: nn.Module, biases: dict[str, mx.array], dtype: mx.Dtype, rounded: dict[str, mx.Dtype] | None
) -> Routing:
    """Put router biases back where the class computes scores in float32 anyway, so that all else stays as it is."""
    before = _type_of_logits(model)
    model.load_weights(list(biases.items()), strict=False)
    if before is not None and _type_of_logits(model) == before:
        return Routing(kept=sorted(biases))
    model.load_weights([(path, array.astype(dtype)) for path, array in biases.items()], strict=False)
    if rounded is not None:
        rounded.update(dict.fromkeys(biases, dtype))
        return Routing()
    return merged({path: distinct(array, dtype) for path, array in biases.items()})


def distinct(array: mx.array, dtype: mx.Dtype) -> tuple[int, int]:
    """Return how many values of a router bias are distinct in a type, and how many are as it is."""
    return _distinct(array.astype(dtype)), _distinct(array)


def merged(counts: Mapping[str, tuple[int, int]]) -> Routing:
    """Return what became of rounded router biases; `counts` are those of `distinct` by their paths."""
    return Routing(merged={path: pair for path, pair in counts.items() if pair[0] < pair[1]})


def _type_of_logits(model: nn.Module) -> mx.Dtype | None:
    """Return the type of the logits, of which none is computed; None if the class wants more than ids."""
    try:
        dtype: mx.Dtype = model(mx.array([[0]])).dtype
    except (ValueError, TypeError, AttributeError, LookupError):
        return None
    return dtype


def _distinct(array: mx.array) -> int:
    values: Any = array.astype(mx.float32).reshape(-1).tolist()
    return len(set(values))
