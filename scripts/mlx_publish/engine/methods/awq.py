"""AWQ by `mlx_lm.quant.awq`, on ids of ours: its own program fetches a text from the network."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.quant import awq

from mlx_publish.engine.methods._lesson import (
    Lesson,
    Taught,
    aside,
    kept_by_class,
    kept_layers,
    progress_of,
    rectangle,
    told,
    wide,
)
from mlx_publish.errors import Refused

JUDGES = False
"""Whether it keeps some text apart to judge itself by."""


def learn(model: nn.Module, config: dict[str, Any], lesson: Lesson) -> Taught:
    """Scale, clip and quantize a model block by block. Raises `Refused` for a type that mlx-lm's AWQ does not know."""
    order, kind = lesson.order, str(config.get("model_type"))
    known = awq.AWQ_MODEL_CONFIGS.get(kind)
    if known is None:
        raise Refused(
            f"mlx-lm's AWQ does not know the model type {kind}",
            check="converts",
            remedy=f"It knows {', '.join(awq.AWQ_MODEL_CONFIGS)}. Take target_bpw, or another method.",
        )
    wide(model)
    ways = kept_by_class(model, order)
    with progress_of(awq, lesson.tell, f"learning {order.label}", "layers"), aside(model, ways):
        awq.awq_quantize(
            model,
            rectangle(lesson.samples),
            known,
            group_size=order.group_size,
            bits=order.bits,
            embed_group_size=order.group_size,
            embed_bits=order.bits,
            n_grid=int(lesson.settings["grid"]),
        )
    _forget_inputs(model)
    mx.eval(model.parameters())
    return Taught(model, told(config, model, order), kept_layers(ways, order.bits, {}), lesson.learned())


def _forget_inputs(model: nn.Module) -> None:
    """Take away what it keeps of a block's inputs in layers that were not quantized: it would be written with them."""
    for _, module in model.named_modules():
        for name in ("input_feat", "indices"):
            if name in module:
                del module[name]
