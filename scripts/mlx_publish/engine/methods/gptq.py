"""GPTQ by `mlx_lm.quant.gptq`, on ids of ours: its own program fetches a text from the network."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx import nn
from mlx_lm.quant import gptq

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
_UNSOLVABLE = ("holesky", "LAPACK")


class _Catcher(gptq.Catcher):
    """Sums what flows into a layer in float32: sums of products in bfloat16 are too coarse to be inverted."""

    H: mx.array

    def __call__(self, x: mx.array, *args: Any, **kwargs: Any) -> Any:
        rows = x.flatten(0, -2).astype(mx.float32)
        self.H = self.H + rows.T @ rows
        return self.module(x, *args, **kwargs)


def learn(model: nn.Module, config: dict[str, Any], lesson: Lesson) -> Taught:
    """Quantize linear layers and experts column by column, all else by rounding with `fallback_bits`.

    Raises `Refused` where the sums of a layer's inputs cannot be inverted.
    """
    order, fallback = lesson.order, int(lesson.settings["fallback_bits"])
    wide(model)
    ways = kept_by_class(model, order)
    before, gptq.Catcher = gptq.Catcher, _Catcher
    try:
        with progress_of(gptq, lesson.tell, f"learning {order.label}", "layers"), aside(model, ways):
            model, block = gptq.gptq_quantize(
                model,
                rectangle(lesson.samples),
                order.bits,
                order.group_size,
                fallback,
                order.group_size,
            )
    except RuntimeError as error:
        if not any(word in str(error) for word in _UNSOLVABLE):
            raise
        raise Refused(
            f"GPTQ cannot invert what flows through a layer: {error}",
            check="converts",
            remedy="Use more calibration text (samples), or another method.",
        ) from error
    finally:
        gptq.Catcher = before
    mx.eval(model.parameters())
    rounded = {path: fallback for path, own in block.items() if isinstance(own, dict) and fallback > (order.bits or 0)}
    return Taught(model, told(config, model, order), kept_layers(ways, order.bits, rounded), lesson.learned())
