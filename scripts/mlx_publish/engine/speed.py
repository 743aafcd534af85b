"""Speed and memory by mlx-lm's own way of generating, so that the numbers are what its users get."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_publish.engine.backends import backend, plain_caches
from mlx_publish.engine.device import gpu_name
from mlx_publish.engine.held import packed
from mlx_publish.engine.loading import computing_by
from mlx_publish.evidence.speed import RATES, CacheSize, LeftOut, LengthSpeed, Speed, Trial, decided
from mlx_publish.machine.series import agree, summary
from mlx_publish.text.progress import Step, Tell

WARM_UPS = 6
"""Runs of a length at most until two successive ones agree."""
LEAST_TRIALS, LEAST_TOKENS = 3, 16
"""What time may shrink trials and tokens to."""
FIRST = (8, 4)
"""Prompt and generation of the very first run, of which nothing but the time of later ones is foreseen."""
Inputs = dict[str, Any]
_PICTURES_SHARE = 0.4
"""Of the time, where a prompt with a picture is measured as well."""
_COLD = 1  # runs of a length that may have to be repeated
_SHORT = 0.2  # of the time


@dataclass
class Bench:
    """A loaded model, what it is asked, and the time that is left for it."""

    model: Any
    tokenizer: Any
    ids: list[int]
    generation: int
    trials: int
    deadline: float
    paces: tuple[float, float] = (0.0, 0.0)
    """Seconds that the last run took for a token of the prompt, and for a token that it generated."""
    cache: list[Any] = field(default_factory=list)
    inputs: Inputs = field(default_factory=dict)
    """What a processor gives beside the ids of a prompt with a picture."""
    tell: Tell = lambda _: None

    def run(self, length: int, generation: int) -> Trial:
        """Return the rates of one prompt and one generation."""
        prompt = (self.ids * (length // len(self.ids) + 1))[:length]
        self.cache = backend().make_cache(self.model)
        start = time.perf_counter()
        responses = backend().stream(self.model, self.tokenizer, prompt, generation, self.cache, **self.inputs)
        last = next(responses)
        first = time.perf_counter() - start
        for response in responses:
            last = response
        rest = time.perf_counter() - start - first
        self.paces = first / length, rest / max(1, generation - 1)
        rates = {rate: round(float(getattr(last, rate)), 3) for rate in RATES}
        return Trial(**rates, first_token_s=round(first, 4))

    def seconds(self, length: int, generation: int) -> float:
        """Return how long a run will take, by the last one."""
        return length * self.paces[0] + generation * self.paces[1]

    def fits(self, runs: int, length: int, generation: int, end: float) -> bool:
        """Return whether so many runs will have ended at `end`."""
        return time.monotonic() + runs * self.seconds(length, generation) <= end

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
    *,
    picture: bool = False,
) -> Speed:
    """Measure each length of prompt with a generation of fixed length, at most `trials` times, within `seconds`.

    A length is run until two successive runs agree, which are its first trials. What does not fit the time is left out
    or made smaller. Stopping is switched off. With `picture` a prompt with a picture is measured at last.
    """
    progress("loading")
    held = packed(folder)
    for_text = seconds * (1 - _PICTURES_SHARE) if picture else seconds
    ids, deadline = held.tokenizer.encode(text), time.monotonic() + for_text
    bench = Bench(held.model, held.tokenizer, ids, generation_tokens, trials, deadline, tell=progress)
    with endless(held.tokenizer):
        if computing_by() == "cuda":  # it compiles as it goes, for 10 to 20 s, which is not the benchmark's time
            progress("running once, so that CUDA compiles the kernels")
            bench.run(min(LEAST_TOKENS, *prompt_tokens), min(LEAST_TOKENS, generation_tokens))
            bench.deadline = time.monotonic() + for_text
        lengths, left_out = _measured(bench, prompt_tokens, seconds)
    speed = Speed(
        device="cpu" if computing_by() == "cpu" else "gpu",
        computed_in=held.computed_in,
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
    if not picture:
        return speed
    from mlx_publish.engine.picture_speed import with_picture  # noqa: PLC0415  mlx-lm needs none

    bench.deadline = time.monotonic() + seconds * _PICTURES_SHARE
    with endless(held.tokenizer):
        return with_picture(bench, Path(folder), speed)


@contextlib.contextmanager
def endless(tokenizer: Any) -> Iterator[None]:
    """Let a tokenizer stop at nothing meanwhile."""
    ends = tokenizer.eos_token_ids
    tokenizer.eos_token_ids = set()
    try:
        yield
    finally:
        tokenizer.eos_token_ids = ends


def _measured(bench: Bench, prompt_tokens: Sequence[int], seconds: float) -> tuple[list[LengthSpeed], list[LeftOut]]:
    """Measure the lengths, the shortest first; return those left out as well."""
    lengths: list[LengthSpeed] = []
    left_out: list[LeftOut] = []
    for number, length in enumerate(sorted(set(prompt_tokens))):
        bench.tell(f"prompts of {length} tokens")
        end = time.monotonic() + bench.left / (len(set(prompt_tokens)) - number)
        if not lengths:
            lengths.append(length_speed(bench, length, _shrunk(bench, length, end), end))
        elif bench.fits(LEAST_TRIALS + _COLD, length, bench.generation, bench.deadline):
            lengths.append(length_speed(bench, length, bench.generation, end))
        else:
            left_out.append(LeftOut(length, f"{seconds:g} s are not enough"))
    return lengths, left_out


def _shrunk(bench: Bench, length: int, end: float) -> int:
    """Return how many tokens are generated after the first length, which is measured in any case, until `end`.

    Where that may have to be fewer, a first short run tells. It may be far slower than all others, so one that makes
    them fewer is repeated.
    """
    least = min(LEAST_TOKENS, bench.generation)
    if bench.generation == least:
        return least
    start, most = time.monotonic(), _SHORT * bench.left
    first_run = min(FIRST[0], length), min(FIRST[1], least)

    def fitting() -> int:
        bench.run(*first_run)
        generation = bench.generation
        while generation > least and not bench.fits(LEAST_TRIALS + _COLD, length, generation, end):
            generation = max(least, generation // 2)
        return generation

    generation = fitting()
    quick = time.monotonic() - start < most
    return fitting() if generation < bench.generation and quick else generation


def length_speed(bench: Bench, length: int, generation: int, end: float) -> LengthSpeed:
    """Measure one length until `end`, as far as the fewest trials take no longer."""
    mx.reset_peak_memory()
    warm, runs = _warm_up(bench, length, generation, end)
    least = min(LEAST_TRIALS, bench.trials)
    while len(runs) < least or (
        len(runs) < bench.trials
        and not decided(runs, bench.trials - len(runs))
        and bench.fits(1, length, generation, end)
    ):
        bench.tell(Step(f"prompts of {length} tokens", len(runs), bench.trials, "runs"))
        runs.append(bench.run(length, generation))
    bench.tell(Step(f"prompts of {length} tokens", len(runs), len(runs), "runs"))
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


def _warm_up(bench: Bench, length: int, generation: int, end: float) -> tuple[list[Trial], list[Trial]]:
    """Run until two successive runs agree in both rates; return those before, and these two.

    After a number of runs, or half of the time until `end`, or where the fewest trials would not fit, none agree. Then
    the last one counts only if there is no time for enough others.
    """
    half, runs = (time.monotonic() + end) / 2, [bench.run(length, generation)]
    while len(runs) < WARM_UPS:
        runs.append(bench.run(length, generation))
        if all(agree(getattr(runs[-1], rate), getattr(runs[-2], rate)) for rate in RATES):
            return runs[:-2], runs[-2:]
        if time.monotonic() > half or not bench.fits(LEAST_TRIALS + 1, length, generation, end):
            break
    counts = 0 if bench.fits(LEAST_TRIALS, length, generation, end) else 1
    return runs[: len(runs) - counts], runs[len(runs) - counts :]


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
