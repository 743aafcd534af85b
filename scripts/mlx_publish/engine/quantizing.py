"""Quantization by mlx-lm, with a record of what the class of the model keeps from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.convert import mixed_quant_predicate_builder
from mlx_lm.utils import quantize_model

from mlx_publish.errors import Refused
from mlx_publish.evidence.conversion import KeptLayers, VariantOrder


def quantize(
    model: nn.Module, config: dict[str, Any], variant: VariantOrder, streams: Iterator[Any]
) -> tuple[nn.Module, dict[str, Any], KeptLayers]:
    """Quantize a model lazily, each module on the next of `streams`.

    Returns the model, its config, and what its class does not quantize as all others. Raises `Refused` where mlx-lm
    cannot do it.
    """
    group_size, chosen = variant.group_size, getattr(model, "quant_predicate", None)
    wider: dict[str, int] = {}
    whole: list[str] = []
    try:
        if variant.mixed:
            chosen = mixed_quant_predicate_builder(variant.mixed, model, group_size)

        def predicate(path: str, module: nn.Module) -> bool | dict[str, Any]:
            # Called for each module just before it is quantized, which is the place to change the stream.
            mx.set_default_stream(next(streams))
            way: bool | dict[str, Any] = chosen(path, module) if chosen else True
            if way is False:
                whole.append(path)
            elif isinstance(way, dict) and variant.bits and way.get("bits", 0) > variant.bits:
                wider[path] = way["bits"]
            return way

        quantized, config = quantize_model(
            model, config, group_size, variant.bits, mode=variant.mode, quant_predicate=predicate
        )
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"mlx-lm cannot quantize it to {variant.label}: {error}", check="converts",
            remedy="Take another variant, or a newer mlx-lm.",
        ) from error  # fmt: skip
    return quantized, config, KeptLayers(wider, whole)
