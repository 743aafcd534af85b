"""How the weights of a variant are quantized; one module a method, by the method's name in `methods/`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

from mlx import nn

from mlx_publish.evidence.conversion import KeptLayers, VariantOrder

Quantized = tuple[nn.Module, dict[str, Any], KeptLayers]
"""The model, its config, and what its class does not quantize as all others."""


def quantize(model: nn.Module, config: dict[str, Any], order: VariantOrder, streams: Iterator[Any]) -> Quantized:
    """Quantize a model by the method of the order, lazily, each module on the next of `streams`.

    Raises `Refused` if that is not possible.
    """
    method: Any = import_module(f"mlx_publish.engine.methods.{order.method}")
    quantized: Quantized = method.quantize(model, config, order, streams)
    return quantized
