"""How long the long question may be: beyond a sliding window, where context, time and memory allow it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mlx_publish.children.environment import fast_blas
from mlx_publish.machine.packages import computes_by
from mlx_publish.machine.resources import memory_bytes

LONG, BEYOND = 512, 64
"""Tokens of the long text, and how far it reaches beyond a sliding window."""
# What is read within a quarter of a minute, as parameters times tokens: measured on a CPU with OpenBLAS and without.
_CPU = {True: 3.5e11, False: 2.5e10}
# A minute and a half of the smallest Apple GPU at half of its 2.6 TFLOPS, two operations for a parameter and token:
# enough for a window of 4,096 in 8 billion parameters. GPUs that CUDA computes on are faster.
_GPU = 6e13
# A score of attention is written, exponentiated and read again, which takes as long as this many products.
_SCORE = 25
_SHARE = 0.25  # of the memory, for cache and scores; the weights take the most of the rest
_CHUNK = 2048  # mlx-lm reads a prompt in parts of so many tokens
_FLOAT32 = 4
_LEAST = 64
_MOST = 40_000  # beyond the longest windows that are in use; tokenizing and rendering take their time as well
_AROUND = 128  # tokens of the template, the question and the answer


@dataclass(frozen=True)
class LongText:
    """Tokens of the text, and why they are fewer than a window asks for; empty if they are not."""

    tokens: int
    reason: str = ""


def long_text(parameters: int, window: int | None, context: int | None, sizes: Mapping[str, object]) -> LongText:
    """Choose the length for a model; `sizes` are keys of its config that say how large attention is.

    What lies beyond a window shows nowhere within it, so where the window cannot be passed the text is a usual one.
    """
    wanted = window + BEYOND if window else LONG
    limits = {
        f"the model's context has {context or 0:,} positions": _within(context),
        "that takes minutes here": _in_time(parameters, sizes),
        "that takes too much memory here": _in_memory(sizes),
    }
    reason = next((text for text, limit in limits.items() if limit < wanted), "")
    if not reason:
        return LongText(wanted)
    tokens = int(min(LONG, *limits.values()))
    return LongText(int(max(min(_LEAST, _within(context)), tokens)), reason if window else "")


def _within(context: int | None) -> float:
    return max(context - _AROUND, context // 2) if context else math.inf


def _in_time(parameters: int, sizes: Mapping[str, object]) -> float:
    """Solve parameters * n + attention * n^2 = budget for n."""
    budget = _CPU[bool(fast_blas())] if computes_by() == "cpu" else _GPU
    heads, width = _heads(sizes)
    attention = _number(sizes, "num_hidden_layers", 1) * heads * (width + _SCORE)
    linear = max(parameters, 1)
    return min(_MOST, (math.sqrt(linear**2 + 4 * attention * budget) - linear) / (2 * attention))


def _in_memory(sizes: Mapping[str, object]) -> float:
    heads, width = _heads(sizes)
    cache = 2 * _number(sizes, "num_hidden_layers", 1) * _number(sizes, "num_key_value_heads", heads) * width
    return _SHARE * memory_bytes() / (_FLOAT32 * (cache + heads * _CHUNK))


def _heads(sizes: Mapping[str, object]) -> tuple[int, int]:
    heads = _number(sizes, "num_attention_heads", 1)
    return heads, _number(sizes, "head_dim", max(1, _number(sizes, "hidden_size", heads) // heads))


def _number(sizes: Mapping[str, object], key: str, default: int) -> int:
    value = sizes.get(key)
    return value if type(value) is int and value > 0 else default
