"""Speed and memory by mlx-lm's own way of generating, so that the numbers are what its users get."""

from __future__ import annotations

import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx_lm import stream_generate

from mlx_publish.engine.loading import load_model, on_gpu


def benchmark(
    folder: str, text: str, prompt_tokens: int, generation_tokens: int, trials: int,
    progress: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Measure `trials` runs of one prompt and a generation of fixed length, after one run to warm up.

    Speeds are in tokens per second, times in seconds, memory in bytes. Stopping is switched off.
    """
    progress("loading")
    model, tokenizer, computed_in = load_model(folder)
    tokenizer.eos_token_ids = set()
    ids = tokenizer.encode(text)
    prompt = (ids * (prompt_tokens // len(ids) + 1))[:prompt_tokens]
    progress("warming up")
    _trial(model, tokenizer, prompt, min(generation_tokens, 8))
    mx.reset_peak_memory()
    runs = []
    for number in range(1, trials + 1):
        progress(f"trial {number} of {trials}")
        runs.append(_trial(model, tokenizer, prompt, generation_tokens))
    return {
        "device": "gpu" if on_gpu() else "cpu",
        "computed_in": computed_in,
        "prompt_tokens": len(prompt),
        "generation_tokens": generation_tokens,
        "trials": runs,
        "prompt_tps": _spread([run["prompt_tps"] for run in runs]),
        "generation_tps": _spread([run["generation_tps"] for run in runs]),
        "first_token_s": _spread([run["first_token_s"] for run in runs]),
        "peak_memory_bytes": int(mx.get_peak_memory()),
        "process_memory_bytes": _process_memory(),
    }


def _trial(model: Any, tokenizer: Any, prompt: list[int], generation_tokens: int) -> dict[str, float]:
    start = time.perf_counter()
    responses = stream_generate(model, tokenizer, prompt, max_tokens=generation_tokens)
    last = next(responses)
    first = time.perf_counter() - start
    for response in responses:
        last = response
    return {
        "prompt_tps": round(float(last.prompt_tps), 3),
        "generation_tps": round(float(last.generation_tps), 3),
        "first_token_s": round(first, 4),
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def _process_memory() -> int:
    """The most memory that this process held, in bytes; Linux counts in KiB, macOS in bytes."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
