"""Speed and memory by mlx-lm's own way of generating, so that the numbers are what its users get."""

from __future__ import annotations

import re
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_publish.engine.backends import backend, plain_caches
from mlx_publish.engine.device import gpu_name
from mlx_publish.engine.loading import computing_by, load_model
from mlx_publish.evidence.speed import CacheSize, LeftOut, LengthSpeed, Speed, Trial
from mlx_publish.machine.series import agree, summary
from mlx_publish.text.progress import Step, Tell, counted

WARM_UPS = 6
"""Runs of a length at most until two successive ones agree."""
LEAST_TRIALS, LEAST_TOKENS = 3, 16
"""What time may shrink trials and tokens to."""
_RATES = ("prompt_tps", "generation_tps")
_SHORT = 0.1  # of the time


@dataclass
class Bench:
    """A loaded model, what it is asked, and the time that is left for it."""

    model: Any
    tokenizer: Any
    ids: list[int]
    generation: int
    trials: int
    deadline: float
    rates: dict[str, float] = field(default_factory=dict)
    """The rates of the last run, by which the next one's time is foreseen."""
    cache: list[Any] = field(default_factory=list)
    tell: Tell = lambda _: None

    def run(self, length: int, generation: int) -> Trial:
        """Return the rates of one prompt and one generation."""
        prompt = (self.ids * (length // len(self.ids) + 1))[:length]
        self.cache = backend().make_cache(self.model)
        start = time.perf_counter()
        responses = backend().stream(self.model, self.tokenizer, prompt, generation, self.cache)
        last = next(responses)
        first = time.perf_counter() - start
        for response in responses:
            last = response
        self.rates = {rate: float(getattr(last, rate)) for rate in _RATES}
        return Trial(**{rate: round(self.rates[rate], 3) for rate in _RATES}, first_token_s=round(first, 4))

    def seconds(self, length: int, generation: int) -> float:
        """Return how long a run will take, by the rates of the last one."""
        return length / self.rates["prompt_tps"] + generation / self.rates["generation_tps"]

    @property
    def left(self) -> float:
        """Return the seconds of the budget that are left."""
        return self.deadline - time.monotonic()


def benchmark(
    folder: str,
    text: str,
    prompt_tokens: Sequence[int],
    generation_tokens: int,
    trials: int,
    seconds: int,
    progress: Tell,
) -> Speed:
    """Measure each length of prompt with a generation of fixed length, `trials` times, within `seconds`.

    A length is run until two successive runs agree, then measured. What does not fit the time is left out or made
    smaller. Stopping is switched off.
    """
    progress("loading")
    model, tokenizer, computed_in = load_model(folder)
    tokenizer.eos_token_ids = set()
    ids, deadline = tokenizer.encode(text), time.monotonic() + seconds
    bench = Bench(model, tokenizer, ids, generation_tokens, trials, deadline, tell=progress)
    first_run = (min(LEAST_TOKENS, *prompt_tokens), min(LEAST_TOKENS, generation_tokens))
    if computing_by() == "cuda":  # it compiles as it goes, for 10 to 20 s, which is not the benchmark's time
        progress("running once, so that CUDA compiles the kernels")
        bench.run(*first_run)
        bench.deadline = time.monotonic() + seconds
    start = time.monotonic()
    bench.run(*first_run)
    # The very first run may be far slower than all others, so a short one is repeated.
    if time.monotonic() - start < _SHORT * bench.left:
        bench.run(*first_run)
    lengths: list[LengthSpeed] = []
    left_out: list[LeftOut] = []
    for number, length in enumerate(sorted(set(prompt_tokens))):
        progress(f"prompts of {length} tokens")
        if speed := _length_speed(bench, length, len(set(prompt_tokens)) - number, first=not lengths):
            lengths.append(speed)
        else:
            left_out.append(LeftOut(length, f"{seconds:g} s are not enough"))
    return Speed(
        device="cpu" if computing_by() == "cpu" else "gpu",
        computed_in=computed_in,
        seconds=seconds,
        asked_generation_tokens=generation_tokens,
        asked_trials=trials,
        lengths=lengths,
        left_out=left_out,
        cache=cache_size(bench.cache),
        peak_memory_bytes=max(speed.peak_memory_bytes for speed in lengths),
        process_memory_bytes=_process_memory(),
        backend=computing_by(),
        gpu=gpu_name(),
    )


def _length_speed(bench: Bench, length: int, lengths_left: int, *, first: bool) -> LengthSpeed | None:
    """Warm one length up and measure it; None if there is no time for it. The first is measured in any case."""
    share = bench.left / lengths_left
    generation = bench.generation
    while first and bench.seconds(length, generation) * (LEAST_TRIALS + 2) > share and generation > LEAST_TOKENS:
        generation = max(LEAST_TOKENS, generation // 2)
    if not first and bench.seconds(length, generation) * (LEAST_TRIALS + 2) > bench.left:
        return None
    mx.reset_peak_memory()
    warm = _warm_up(bench, length, generation, bench.left / lengths_left)
    fitting = int(bench.left / lengths_left / bench.seconds(length, generation))
    count = max(min(LEAST_TRIALS, bench.trials), min(bench.trials, fitting))
    step = Step(f"prompts of {length} tokens", 0, count, "runs")
    runs = list(counted((bench.run(length, generation) for _ in range(count)), lambda _: 1, bench.tell, step))
    return LengthSpeed(
        prompt_tokens=length,
        generation_tokens=generation,
        warm_up=warm,
        trials=runs,
        prompt_tps=summary([run.prompt_tps for run in runs]),
        generation_tps=summary([run.generation_tps for run in runs]),
        first_token_s=summary([run.first_token_s for run in runs]),
        peak_memory_bytes=int(mx.get_peak_memory()),
    )


def _warm_up(bench: Bench, length: int, generation: int, share: float) -> list[Trial]:
    """Run until two successive runs agree in both rates, or a number of runs or the time for it is used up.

    That is half of `share`, and what leaves room for the fewest trials.
    """
    end, runs = time.monotonic() + share, [bench.run(length, generation)]
    while len(runs) < WARM_UPS:
        runs.append(bench.run(length, generation))
        rest = max(share / 2, (LEAST_TRIALS + 1) * bench.seconds(length, generation))
        settled = all(agree(getattr(runs[-1], rate), getattr(runs[-2], rate)) for rate in _RATES)
        if settled or time.monotonic() + rest > end:
            break
    return runs


def cache_size(layers: Sequence[Any]) -> CacheSize:
    """Return what the caches of all layers take after a run.

    A layer with a window stops growing at its size; a state-space layer keeps arrays of a fixed size in place of keys.
    """
    growing = windowed = window = fixed = unknown = 0
    for layer in plain_caches(layers):
        keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
        if not isinstance(keys, mx.array) or not isinstance(values, mx.array):
            state = getattr(layer, "cache", None)
            fixed += sum(part.nbytes for part in state if isinstance(part, mx.array)) if isinstance(state, list) else 0
            # A layer that holds nothing after a run has a cache that it does not use.
            unknown += not isinstance(state, list) and (keys is not None or values is not None)
            continue
        each = 2 * (keys.size // keys.shape[-2] + values.size // values.shape[-2])
        if size := int(getattr(layer, "max_size", 0) or getattr(layer, "chunk_size", 0) or 0):
            windowed, window = windowed + each, max(window, size)
        else:
            growing += each
    return CacheSize(growing, windowed, window, fixed, unknown)


def _process_memory() -> int:
    """Return the most memory that this process held for this job, in bytes; macOS knows only that of its whole life."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    return 1024 * int(peak[1]) if peak else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
