"""Load a model as its users do, and make it fit for this machine."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map

from mlx_publish.engine.backends import backend
from mlx_publish.engine.parameters import in_memory
from mlx_publish.engine.source_model import load_source
from mlx_publish.evidence.speed import Backend


def computing_by() -> Backend:
    """Return the backend that MLX computes with now, by the default device."""
    if mx.default_device() != mx.gpu:
        return "cpu"
    gpus: tuple[Backend, ...] = ("metal", "cuda")
    return next((name for name in gpus if _available(name)), "cpu")


def _available(name: str) -> bool:
    """Return whether MLX was built with a backend; versions before CUDA have no `mx.cuda`."""
    part = getattr(mx, name, None)
    return part is not None and bool(part.is_available())


def on_gpu() -> bool:
    """Return whether MLX computes on a GPU here, by Metal or by CUDA."""
    return computing_by() != "cpu"


def fast_blas_in_front() -> bool:
    """Return whether this child computes with more than the BLAS of MLX's own wheel."""
    return not on_gpu() and "blas" in os.environ.get("LD_PRELOAD", "")


def load_model(folder: str, *, dequantize: bool = False, source: bool = False) -> tuple[Any, Any, str]:
    """Return model, tokenizer and the type that it computes in.

    A `source` is read as the conversion reads it; anything else as its users do.

    A GPU computes in the model's own type. The CPU has no fast half precision, so there the loaded model
    (never the files) is cast to float32. `dequantize` unpacks the weights as well, on the CPU only: the same
    arithmetic up to rounding, at the speed of the BLAS. They are unpacked by scales in float32, as the kernels do: in
    bfloat16 each weight would be rounded once more, which at 8 bits is as much again as the quantization.
    """
    if source:
        model = in_memory(load_source(Path(folder)))
        tokenizer = backend().load_tokenizer(Path(folder))
    else:
        model, tokenizer = backend().load(Path(folder))
    computed_in = fit(model)
    if dequantize and not on_gpu():
        model = backend().dequantize(model)
        fit(model)  # modes with small floats give bfloat16, which holds them
    return model, tokenizer, computed_in


def fit(model: Any) -> str:
    """Cast a loaded model to what this device is fast in; returns the type's name."""
    if on_gpu():
        return "as stored"

    def wide(value: mx.array) -> mx.array:
        return value.astype(mx.float32) if mx.issubdtype(value.dtype, mx.floating) else value

    model.update(tree_map(wide, model.parameters()))
    mx.eval(model.parameters())
    return "float32"


@contextlib.contextmanager
def warnings_of_loading() -> Iterator[list[str]]:
    """Collect all that loading prints and logs: Python's warnings, log records, lines on stderr and stdout."""
    messages: list[str] = []
    handler = _Collect(messages)
    names = ("", "transformers", "mlx_lm", "huggingface_hub")
    text = io.StringIO()
    with warnings.catch_warnings(record=True) as caught, contextlib.redirect_stderr(text):
        warnings.simplefilter("always")
        for name in names:
            logging.getLogger(name).addHandler(handler)
        try:
            yield messages
        finally:
            for name in names:
                logging.getLogger(name).removeHandler(handler)
    messages.extend(str(item.message) for item in caught)
    # Progress bars rewrite one line; they are no warning.
    messages.extend(line for line in text.getvalue().splitlines() if line.strip() and "\r" not in line)
    messages[:] = list(dict.fromkeys(re.sub(r"\s+", " ", line).strip() for line in messages))


class _Collect(logging.Handler):
    def __init__(self, messages: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._messages = messages

    def emit(self, record: logging.LogRecord) -> None:
        self._messages.append(record.getMessage())
