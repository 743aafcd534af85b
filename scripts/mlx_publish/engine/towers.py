"""Parts of a model that see or hear, and what joins them to the language model: their bits, and their type.

In classes of mlx-vlm they are all that does not lie below `language_model`.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from mlx_publish.engine.backends import keeps_senses
from mlx_publish.evidence.conversion import Towers, VariantOrder
from mlx_publish.model.senses import LANGUAGE

Settings = dict[str, Any]
_BLOCK = 64
"""mlx-vlm takes no layer for quantized whose numbers are not a multiple of this."""


def is_tower(path: str) -> bool:
    """Return whether a parameter or module belongs to what sees or hears."""
    return keeps_senses() and not path.startswith(LANGUAGE)


def settings(path: str, module: nn.Module, order: VariantOrder) -> Settings | None:
    """Return bits and group size of a linear layer of a tower; None for what stays as it is.

    Embeddings of positions stay: their classes read the numbers, as where a grid is interpolated.
    """
    if order.towers is None or not is_tower(path) or not isinstance(module, nn.Linear):
        return None
    bits, group = order.towers
    if module.weight.shape[-1] % group or module.weight.size % _BLOCK:
        return None
    return {"bits": bits, "group_size": group, "mode": "affine"}


def told(model: nn.Module, order: VariantOrder, source: nn.Module) -> Towers | None:
    """Return what became of those of the model `source` in a variant's; None for a library of text models."""
    if not keeps_senses():
        return None
    refused = order.dtype or "" if kept_types(source, order.dtype) else ""
    layers = {path: module for path, module in model.named_modules() if is_tower(path)}
    packed = [path for path, module in layers.items() if isinstance(module, nn.QuantizedLinear)]
    if order.towers is None or not order.quantize:
        return Towers(refused=refused)
    whole = sorted(path for path, module in layers.items() if isinstance(module, nn.Linear))
    bits, group = order.towers if packed else (None, None)
    return Towers(len(packed), bits, group, refused, whole)


def kept_types(model: nn.Module, dtype: str | None) -> dict[str, mx.Dtype]:
    """Return by path the types that parameters of towers keep; `dtype` is the one that was asked for.

    Where none was asked for, it is the source's. float16 ends at 65,504, which numbers that an encoder computes go
    beyond although its weights do not: what comes in a wider type keeps it.
    """
    if not keeps_senses() or dtype not in (None, "float16"):
        return {}
    return {
        path: array.dtype
        for path, array in tree_flatten(model.parameters())
        if is_tower(path) and (dtype is None or array.dtype in (mx.bfloat16, mx.float32))
    }
