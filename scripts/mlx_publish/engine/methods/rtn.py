"""Rounding to nearest by the converter's own quantizer, with a record of what the model's class keeps from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
from mlx import nn

from mlx_publish.engine.backends import backend
from mlx_publish.engine.methods import Quantized, refusing
from mlx_publish.engine.towers import is_tower
from mlx_publish.evidence.conversion import KeptLayers, VariantOrder


def quantize(model: nn.Module, config: dict[str, Any], order: VariantOrder, streams: Iterator[Any]) -> Quantized:
    """Quantize a model lazily, each module on the next of `streams`. Raises `Refused` if mlx-lm cannot do it."""
    wider: dict[str, int] = {}
    whole: list[str] = []
    with refusing(order):
        chosen = backend().predicate(model, order)

        def predicate(path: str, module: nn.Module) -> bool | dict[str, Any]:
            # Called for each module just before it is quantized, which is the place to change the stream.
            mx.set_default_stream(next(streams))
            way: bool | dict[str, Any] = chosen(path, module) if chosen else True
            if is_tower(path):  # of which the recipe says how it is
                return way
            if way is False:
                whole.append(path)
            elif isinstance(way, dict) and order.bits and way.get("bits", 0) > order.bits:
                wider[path] = way["bits"]
            return way

        quantized, config = backend().quantize(model, config, order, predicate)
    return Quantized(quantized, config, KeptLayers(wider, whole))
