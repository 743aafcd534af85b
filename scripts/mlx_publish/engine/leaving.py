"""What is done between two jobs of one process, so that the second finds it as if it were the first."""

from __future__ import annotations

import ctypes
import gc
import sys

import mlx.core as mx
from transformers.utils import logging

_DEVICE = mx.default_device()
"""The machine's own; an operation may compute on the CPU alone."""


def leave(keep: str = "") -> None:
    """Let go of the job's memory, and of what this process knows by it, but for the model of the folder `keep`."""
    if "mlx_publish.engine.held" in sys.modules:
        sys.modules["mlx_publish.engine.held"].keep_only(keep)
    if "mlx_publish.engine.prompts" in sys.modules:
        sys.modules["mlx_publish.engine.prompts"].forget()
    mx.set_default_device(_DEVICE)
    # A library warns once a process, and its warnings while it loads are findings about each model.
    for once in (logging.warning_once, logging.info_once):
        once.cache_clear()
    trim()


def trim() -> None:
    """Give memory that nothing needs back to the system."""
    gc.collect()
    mx.clear_cache()
    mx.reset_peak_memory()
    if hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)
