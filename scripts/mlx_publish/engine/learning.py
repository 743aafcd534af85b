"""Variants whose method learns: the source is in memory whole, and computes on the GPU where there is one.

Bytes that are rounded alone are the same on all machines; those that are learned are the same for one machine only.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from mlx_publish.engine.backends import backend
from mlx_publish.engine.casting import cast_as_stored
from mlx_publish.engine.device import trusted
from mlx_publish.engine.making import judged
from mlx_publish.engine.methods._lesson import Lesson, Taught, cast_each
from mlx_publish.engine.methods._state import forget
from mlx_publish.engine.parameters import in_memory
from mlx_publish.engine.passages import drawn
from mlx_publish.engine.rows import bits_of
from mlx_publish.engine.source_model import load_source
from mlx_publish.engine.stream import ShardWriter
from mlx_publish.errors import Bug, Refused
from mlx_publish.evidence.conversion import Routing, VariantOrder, Written
from mlx_publish.evidence.sensitivities import CalibrationOrder
from mlx_publish.methods import settings_of
from mlx_publish.text.progress import Step, Tell

_UNABLE = (ValueError, LookupError, TypeError, AttributeError, AssertionError, NotImplementedError)
"""What a method of mlx-lm raises for a model that it was not written for."""
_MOST_APART = 32
"""Samples by which a method judges itself, as in mlx-lm."""


def learns(order: VariantOrder) -> bool:
    """Return whether the method of a variant needs the whole source in memory."""
    return order.quantize and hasattr(_method(order), "learn")


def _method(order: VariantOrder) -> Any:
    try:
        return import_module(f"mlx_publish.engine.methods.{order.method}")
    except ImportError as error:
        if not str(error.name).startswith("mlx_lm."):
            raise
        raise Refused(
            f"the installed mlx-lm has no {order.method}: {error}",
            check="converts",
            remedy="Install a newer mlx-lm, or take another method.",
        ) from error


@contextmanager
def computing_on(device: Any, tell: Tell) -> Iterator[None]:
    """Compute on another device than what writes bytes. `SurroundingsError` if it is a GPU that computes wrong."""
    before = mx.default_device()
    mx.set_default_device(device)
    try:
        trusted(tell)
        yield
    finally:
        mx.set_default_device(before)


def learned(source: Path, order: VariantOrder, dead: Sequence[str], device: Any, tell: Tell) -> Written:
    """Learn and write one variant of the source on `device`; `dead` are weights that are zero all over in the source.

    Raises `Refused` if the method cannot do this model.
    """
    with computing_on(device, tell):
        tell(f"learning {order.label}: loading the source")
        built = load_source(source)
        config, model = built.config, in_memory(built)
        dtype, routing = cast_as_stored(model, order.dtype, config)
        cast_each(model, lambda _, array: array.dtype)
        types = {path: array.dtype for path, array in tree_flatten(model.parameters())}
        try:
            taught: Taught = _method(order).learn(model, config, _lesson(order, source, tell))
        except _UNABLE as error:
            raise Refused(
                f"mlx-lm's {order.method} cannot do this model: {type(error).__name__}: {error}",
                check="converts",
                remedy="Take another method, or target_bpw.",
            ) from error
        del model
        _narrow(taught.model, types)
        if dtype:
            taught.config["torch_dtype"] = dtype
            taught.config.pop("dtype", None)
        written = _write(taught, order, routing, dead, tell)
    del taught
    gc.collect()  # modules that were replaced refer to each other
    mx.clear_cache()
    return written


def _lesson(order: VariantOrder, source: Path, tell: Tell) -> Lesson:
    """Return what the method learns from. `BadInput` if the calibration text has no sample."""
    if order.calibration is None:
        raise Bug(f"{order.label} has no text to learn from")
    calibration, settings = CalibrationOrder(**order.calibration), settings_of(order.options, order.bits)
    apart = min(_MOST_APART, max(1, calibration.samples // 4)) if _method(order).JUDGES else 0
    text = drawn(source, backend().load_tokenizer(source), calibration, apart)
    return Lesson(order, text.samples, text.apart, settings, tell)


def _narrow(model: nn.Module, types: dict[str, mx.Dtype]) -> None:
    """Give everything the type that it is stored in: scales and biases have that of the weight that they belong to."""

    def stored(path: str, array: mx.array) -> mx.Dtype:
        if not mx.issubdtype(array.dtype, mx.floating):
            return array.dtype
        return types.get(path) or types.get(f"{path.rpartition('.')[0]}.weight", array.dtype)

    cast_each(model, stored)


def _write(taught: Taught, order: VariantOrder, routing: Routing, dead: Sequence[str], tell: Tell) -> Written:
    """Write a model that is in memory."""
    planned = tree_flatten(taught.model.parameters())
    folder, total = Path(order.folder), sum(array.nbytes for _, array in planned)
    done, overflows, vanished = 0, "", []
    with ShardWriter(folder, planned, backend().parameters(taught.model)) as writer:
        for name, array in planned:
            tell(Step(f"writing {order.label}", done, total))
            done += array.nbytes
            piece = judged(name, bits_of(array), array.dtype)
            if not piece.finite:
                overflows = name
                break
            if array.ndim > 1 and name.endswith(".weight") and piece.largest == 0 and name not in dead:
                vanished.append(name)
            writer.write(name, piece.bits)
        if not overflows:
            writer.finish()
            backend().save_config(taught.config, folder / "config.json")
    forget(order.state)
    return Written(vanished, overflows, routing, taught.kept, writer.sha256, taught.learned)
