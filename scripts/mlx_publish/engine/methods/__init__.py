"""How the weights of a variant are quantized; one module a method, by the method's name in `methods/`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

from mlx import nn

from mlx_publish.engine.backends import library
from mlx_publish.errors import Refused
from mlx_publish.evidence.conversion import KeptLayers, VariantOrder


class Quantized(NamedTuple):
    """A model that was quantized, lazily."""

    model: nn.Module
    config: dict[str, Any]
    kept: KeptLayers
    """What its class does not quantize as all others."""
    importance: Mapping[str, str] = {}
    """By module: a step for each column of its weight, by which its scales are chosen in place of MLX's."""


@contextmanager
def refusing(order: VariantOrder) -> Iterator[None]:
    """Raise `Refused` for what the library raises where it cannot quantize a model to the form of an order."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(
            f"{library()} cannot quantize it to {order.label}: {error}",
            check="converts",
            remedy=f"Take another variant, or a newer {library()}.",
        ) from error


def quantize(model: nn.Module, config: dict[str, Any], order: VariantOrder, streams: Iterator[Any]) -> Quantized:
    """Quantize a model by the method of the order, lazily, each module on the next of `streams`.

    Raises `Refused` if that is not possible.
    """
    method: Any = import_module(f"mlx_publish.engine.methods.{order.method}")
    return Quantized(*method.quantize(model, config, order, streams))
