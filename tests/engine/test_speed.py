"""What the benchmark does with its time, by a clock of its own, and what it asks of a real model."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- caches are filled by hand
import mlx_lm  # noqa: TID251
import pytest
from mlx_lm.models.cache import ArraysCache, CacheList, ChunkedKVCache, KVCache, RotatingKVCache  # noqa: TID251

from gate import loaded
from mlx_publish.engine import speed
from mlx_publish.engine.backends import backend
from mlx_publish.engine.held import Held
from mlx_publish.engine.loading import on_gpu
from mlx_publish.engine.speed import FIRST, LEAST_TOKENS, LEAST_TRIALS, WARM_UPS, Bench, benchmark
from mlx_publish.evidence.speed import CacheSize, LeftOut, Speed, Trial
from mlx_publish.machine.series import Summary
from mlx_publish.text.progress import Step
from models import make_model, make_scripted
from tiny_tokenizer import TURN_END

Rates = Callable[[int], tuple[float, float]]
WINDOW = 100
TEXT = "The Moon passes in front of the Sun. "
DEFAULTS = ([128, 512, 2048], 128, 5, 180)


@dataclass
class Machine:
    """One whose clock goes on only while it runs; `rates` of prompt and generation, by the number of the run."""

    rates: Rates
    now: float = 1000.0
    runs: list[tuple[int, int]] = field(default_factory=list)
    """Prompt and generation of each run."""

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic

    def run(self, bench: Bench, length: int, generation: int) -> Trial:
        prompt_tps, generation_tps = self.rates(len(self.runs))
        self.runs.append((length, generation))
        self.now += length / prompt_tps + generation / generation_tps
        bench.paces = 1 / prompt_tps, 1 / generation_tps
        return Trial(prompt_tps, generation_tps, length / prompt_tps)


class Words:
    """A tokenizer."""

    eos_token_ids = frozenset({0})

    def encode(self, text: str) -> list[int]:
        return list(range(len(text.split())))


def steady(prompt_tps: float, generation_tps: float) -> Rates:
    return lambda _: (prompt_tps, generation_tps)


def scattered(prompt_tps: float, generation_tps: float) -> Rates:
    """Rates that agree, and that print differently."""
    return lambda number: (prompt_tps * (1 + 0.01 * (number % 2)), generation_tps * (1 + 0.01 * (number % 2)))


@dataclass(frozen=True)
class Measured:
    """What a benchmark measured, in how many seconds, and by which runs."""

    speed: Speed
    seconds: float
    runs: list[tuple[int, int]]

    @property
    def shapes(self) -> list[tuple[int, int, int, int]]:
        """Prompt, generation, warm-ups and trials of each length."""
        return [
            (length.prompt_tokens, length.generation_tokens, len(length.warm_up), len(length.trials))
            for length in self.speed.lengths
        ]


Measure = Callable[..., Measured]


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Measure a machine that does not exist."""

    def on(rates: Rates, lengths: list[int], generation: int, trials: int, seconds: Any) -> Measured:
        machine = Machine(rates)
        monkeypatch.setattr(speed, "time", machine)
        monkeypatch.setattr(speed, "packed", lambda _: Held(Path(), (), None, Words(), "float32", ()))
        monkeypatch.setattr(Bench, "run", lambda *asked: machine.run(*asked))  # noqa: PLW0108  bound, it would not be given the bench
        begin = machine.now
        measured = benchmark("folder", TEXT, lengths, generation, trials, seconds, lambda _: None)
        return Measured(measured, machine.now - begin, machine.runs)

    return on


def test_with_time_all_lengths_are_measured(measure: Measure) -> None:
    made = measure(scattered(1000, 100), *DEFAULTS)
    assert made.shapes == [(128, 128, 0, 5), (512, 128, 0, 5), (2048, 128, 0, 5)]
    assert made.speed.left_out == []
    assert (made.speed.seconds, made.speed.asked_generation_tokens, made.speed.asked_trials) == (180, 128, 5)
    assert made.speed.lengths[1].generation_tps.median == pytest.approx(100, rel=0.01)
    assert made.speed.lengths[1].first_token_s.median == pytest.approx(0.512, rel=0.01)


def test_lengths_are_measured_once_each_and_the_shortest_first(measure: Measure) -> None:
    made = measure(scattered(1000, 100), [512, 64, 512, 128], 32, 5, 60)
    assert [shape[0] for shape in made.shapes] == [64, 128, 512]


def test_what_cuda_compiles_in_its_first_run_is_no_time_of_the_benchmark(
    measure: Measure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_at_first(number: int) -> tuple[float, float]:
        return (0.8, 100) if number == 0 else (1000, 100)  # 10 s for 8 tokens

    asked = ([128, 512, 2048], 128, 5, 30)
    late = measure(slow_at_first, *asked)
    assert late.speed.lengths[0].generation_tokens == LEAST_TOKENS
    monkeypatch.setattr(speed, "computing_by", lambda: "cuda")
    monkeypatch.setattr(speed, "gpu_name", lambda: "NVIDIA H100 80GB HBM3")
    made = measure(slow_at_first, *asked)
    assert made.shapes == measure(steady(1000, 100), *asked).shapes
    assert (made.speed.device, made.speed.backend, made.speed.gpu) == ("gpu", "cuda", "NVIDIA H100 80GB HBM3")


def test_what_does_not_fit_is_left_out_and_told(measure: Measure) -> None:
    made = measure(scattered(100, 50), [128, 512, 2048], 128, 5, 90)
    assert made.shapes == [(128, 128, 0, 5), (512, 128, 0, 4)]
    assert made.speed.left_out == [LeftOut(2048, "90 s are not enough")]
    assert made.seconds <= 90


def test_trials_become_fewer_before_a_length_is_left_out(measure: Measure) -> None:
    for seconds, trials in ((27, 4), (32, 4), (34, 5), (60, 5)):
        assert measure(scattered(1000, 20), [128], 128, 5, seconds).shapes == [(128, 128, 0, trials)]
    cold = scattered(1000, 20)(0)
    made = measure(lambda number: (1000, 18) if number == 1 else cold, [128], 128, 5, 27)
    assert made.shapes == [(128, 128, 1, 3)]


@pytest.mark.parametrize(("rate", "generation"), [(20, 128), (8, 64), (4, 32), (2, 16), (0.01, 16)])
def test_the_generation_of_the_first_length_shrinks_to_fit(measure: Measure, rate: float, generation: int) -> None:
    made = measure(steady(1000, rate), [128], 128, 5, 60)
    assert made.speed.lengths[0].generation_tokens == generation
    assert len(made.speed.lengths[0].trials) >= LEAST_TRIALS
    assert made.seconds <= 60 or generation == LEAST_TOKENS


def test_what_was_asked_is_never_made_more(measure: Measure) -> None:
    assert measure(steady(1000, 0.1), [8], 4, 2, 5).shapes == [(8, 4, 0, 2)]
    assert measure(steady(1000, 1000), [8], 4, 2, 180).shapes == [(8, 4, 0, 2)]


def test_a_cold_first_run_shrinks_nothing(measure: Measure) -> None:
    """A token a second while kernels are compiled, and 2,000 ever after."""
    made = measure(lambda number: (1.0, 1.0) if number == 0 else scattered(2000, 2000)(number), *DEFAULTS)
    assert made.runs[:3] == [FIRST, FIRST, (128, 128)]
    assert made.shapes == [(128, 128, 0, 5), (512, 128, 0, 5), (2048, 128, 0, 5)]


def test_a_first_run_that_shrinks_nothing_is_not_repeated(measure: Measure) -> None:
    assert measure(steady(2000, 2000), *DEFAULTS).runs.count(FIRST) == 1


def test_where_nothing_could_shrink_there_is_no_first_run(measure: Measure) -> None:
    """The demo on a slow CPU: what was two short runs, two to warm up and three trials are three trials."""
    made = measure(scattered(13, 10.5), [32, 128], 16, 5, 30)
    assert made.runs == [(32, 16)] * 3
    assert made.shapes == [(32, 16, 0, 3)]
    assert made.speed.left_out == [LeftOut(128, "30 s are not enough")]


def test_a_slow_machine_is_not_kept_with_a_second_first_run(measure: Measure) -> None:
    assert measure(steady(0.5, 0.5), [16], 32, 5, 60).runs == [FIRST, *[(16, 16)] * 3]


def test_the_budget_is_kept(measure: Measure) -> None:
    """Wherever the fewest trials of the fewest tokens fit at all."""
    dice = random.Random(1)  # noqa: S311  no secret
    left_out = shrunk = 0
    for _ in range(400):
        rates, seconds = (10 ** dice.uniform(0.5, 4), 10 ** dice.uniform(-0.5, 2.5)), dice.choice([5, 60, 180, 600])
        lengths = dice.choice([[128], [32, 64], [128, 512, 2048]])
        least = 2 * (8 / rates[0] + 4 / rates[1]) + 4 * (lengths[0] / rates[0] + 16 / rates[1])
        made = measure(scattered(*rates), lengths, 128, 5, seconds)
        if least <= 0.9 * seconds:
            assert made.seconds <= 1.01 * seconds
        measured = [length.prompt_tokens for length in made.speed.lengths]
        assert measured + [length.prompt_tokens for length in made.speed.left_out] == lengths
        assert all(warm <= WARM_UPS and trials >= LEAST_TRIALS for _, _, warm, trials in made.shapes)
        left_out += bool(made.speed.left_out)
        shrunk += made.shapes[0][1] < 128
    assert left_out > 50
    assert shrunk > 50


def test_a_machine_that_never_settles_overruns_by_little(measure: Measure) -> None:
    dice = random.Random(2)  # noqa: S311  no secret
    for _ in range(200):
        middle = 10 ** dice.uniform(1, 2)
        made = measure(lambda _, rate=middle: (10 * rate, rate * dice.uniform(0.8, 1.2)), [128, 512], 128, 5, 60)
        assert made.seconds <= 1.2 * 60


# Generation rates of the runs that follow the first; how many of them warm up.
WARMING: dict[str, tuple[list[float], int]] = {
    "at once": ([100, 101], 0),
    "after a cold one": ([60, 2021, 2009], 1),
    "within five percent": ([100, 94, 98, 97], 1),
    "never": ([10, 20, 40, 80, 160, 320, 640], WARM_UPS),
}


@pytest.mark.parametrize("case", WARMING)
def test_it_warms_up_until_two_runs_agree_which_count(measure: Measure, case: str) -> None:
    rates, warm = WARMING[case]
    after = [rates[-1] * (1 + 0.01 * (number % 2)) for number in range(9)]
    made = measure(lambda number: (1000, [50.0, *rates, *after][number]), [64], 32, 5, 600)
    [length] = made.speed.lengths
    assert [trial.generation_tps for trial in length.warm_up] == rates[:warm]
    assert [trial.generation_tps for trial in length.trials] == [*rates[warm:], *after][:5]


def test_the_cold_one_is_in_no_number(measure: Measure) -> None:
    rates = [50.0, 60.0, 2020.0, 2000.0, 2010.0, 2021.0, 2019.0, 1.0]
    [length] = measure(lambda number: (1000, rates[number]), [64], 32, 5, 600).speed.lengths
    assert length.generation_tps == Summary(median=2019, lowest=2000, highest=2021)


def test_both_rates_have_to_agree(measure: Measure) -> None:
    made = measure(lambda number: (100 * 2 ** min(number, 4) + number, 100), [64], 32, 5, 600)
    assert made.shapes == [(64, 32, 3, 5)]


def test_warming_up_ends_with_half_of_the_time(measure: Measure) -> None:
    """Runs of 2.8 and 3.2 s take turns."""
    made = measure(lambda number: (1e6, 64 / (3.2 if number % 2 else 2.8)), [64], 64, 5, 29.5)
    assert made.shapes == [(64, 64, 5, 4)]
    assert made.seconds <= 29.5


def test_warming_up_leaves_room_for_the_trials(measure: Measure) -> None:
    """Runs of 4.4 and 5 s take turns: three of them would fit into half of the time, and then too few trials."""
    made = measure(lambda number: (1e6, 64 / (5 if number % 2 else 4.4)), [64], 64, 5, 28)
    assert made.shapes == [(64, 64, 2, 3)]
    assert made.seconds <= 28


def test_a_last_run_that_agrees_with_none_counts_where_time_is_short(measure: Measure) -> None:
    made = measure(lambda number: (1e6, 64 / (5 if number % 2 else 4.4)), [64], 64, 5, 20)
    assert made.shapes == [(64, 64, 1, 3)]
    assert made.seconds <= 20


def test_trials_end_where_no_more_of_them_can_change_what_is_printed(measure: Measure) -> None:
    """Of five, three that print 100 decide the median; two do not, nor does a third that prints 101."""
    rates = {"alike": [100.1, 100.4, 100.2], "one apart": [100.1, 100.4, 100.6, 100.1, 100.1]}
    made = {
        name: measure(lambda number, of=of: (1000, [50, *of][number]), [64], 32, 5, 600) for name, of in rates.items()
    }
    assert [made[name].shapes for name in rates] == [[(64, 32, 0, 3)], [(64, 32, 0, 5)]]
    # Of ten, six are needed: then the other four are outvoted.
    assert measure(steady(1000, 100), [64], 32, 10, 600).shapes == [(64, 32, 0, 6)]
    # The rate of prompts has to be decided as well.
    assert measure(lambda number: (1000 + 10 * number, 100), [64], 32, 5, 600).shapes == [(64, 32, 0, 5)]


# From here on, real models.


@dataclass
class Counted:
    """What was asked of mlx-lm, and what came of it."""

    prompts: list[int] = field(default_factory=list)
    generations: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def make_cache(self, model: Any) -> list[Any]:
        return backend().make_cache(model)

    def stream(self, model: Any, tokenizer: Any, prompt: list[int], tokens: int, cache: list[Any]) -> Iterator[Any]:
        response = None
        for response in backend().stream(model, tokenizer, prompt, tokens, cache):
            yield response
        assert response is not None
        self.prompts.append(len(prompt))
        self.generations.append(response.generation_tokens)
        self.reasons.append(response.finish_reason)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    counted = Counted()
    monkeypatch.setattr(speed, "backend", lambda: counted)
    return counted


def test_a_real_model_end_to_end(tmp_path: Path, counted: Counted) -> None:
    folder, messages = make_model(tmp_path / "m"), list[str | Step]()
    measured = benchmark(str(folder), TEXT, [24, 300], 20, 3, 60, messages.append)
    assert messages[0] == "loading"
    steps = {step.what: (step.done, step.total, step.unit) for step in messages if isinstance(step, Step)}
    assert steps == {"prompts of 24 tokens": (3, 3, "runs"), "prompts of 300 tokens": (3, 3, "runs")}
    assert (measured.device, measured.computed_in) == (("gpu", "as stored") if on_gpu() else ("cpu", "float32"))
    assert [(length.prompt_tokens, length.generation_tokens, len(length.trials)) for length in measured.lengths] == [
        (24, 20, 3),
        (300, 20, 3),
    ]
    for length in measured.lengths:
        assert len(length.warm_up) <= WARM_UPS
        for trial in (*length.warm_up, *length.trials):
            assert min(trial.prompt_tps, trial.generation_tps, trial.first_token_s) > 0
        rates = sorted(trial.generation_tps for trial in length.trials)
        assert length.generation_tps == Summary(median=rates[1], lowest=rates[0], highest=rates[2])
    # A text of 37 letters is repeated until it is long enough.
    assert set(counted.prompts) == {8, 24, 300}
    assert set(zip(counted.prompts, counted.generations, strict=True)) == {(8, 4), (24, 20), (300, 20)}
    weights = folder.joinpath("model.safetensors").stat().st_size
    assert weights < measured.peak_memory_bytes == max(length.peak_memory_bytes for length in measured.lengths)
    assert measured.peak_memory_bytes < measured.process_memory_bytes


def test_a_model_that_would_stop_at_once_is_not_let(tmp_path: Path, counted: Counted) -> None:
    folder = make_scripted(tmp_path / "m", {})
    model, tokenizer = loaded(folder)
    assert [response.token for response in mlx_lm.stream_generate(model, tokenizer, TEXT, max_tokens=24)] == [TURN_END]
    benchmark(str(folder), TEXT, [16], 24, 2, 30, lambda _: None)
    assert set(counted.generations) == {4, 24}
    assert set(counted.reasons) == {"length"}


def cache_of(folder: Path, prompt: int = 20) -> CacheSize:
    """Of a real run."""
    model, tokenizer = loaded(folder)
    bench = Bench(model, tokenizer, [5, 6, 7], 4, 3, 0)
    bench.run(prompt, 4)
    return speed.cache_size(bench.cache)


# Two layers and two heads of keys and of values; qwen3 and gemma2 have heads of twice the usual size.
@pytest.mark.parametrize(("arch", "head"), [("llama", 16), ("qwen2", 16), ("qwen3", 32), ("gemma2", 32), ("phi3", 16)])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_cache_takes_two_bytes_a_number(tmp_path: Path, arch: str, head: int, dtype: str) -> None:
    folder = make_model(tmp_path / "m", arch, dtype=dtype)
    assert cache_of(folder) == CacheSize(bytes_per_token=2 * 2 * 2 * head * 2, window_bytes_per_token=0, window=0)


@pytest.mark.parametrize("arch", ["llama", "mistral"])
@pytest.mark.parametrize("prompt", [20, 300])
def test_a_layer_with_a_window_stops_growing(tmp_path: Path, arch: str, prompt: int) -> None:
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    folder = make_model(tmp_path / "m", arch, layers=3, config={"sliding_window": WINDOW, "layer_types": kinds})
    a_layer = 2 * 2 * 16 * 2
    assert cache_of(folder, prompt) == CacheSize(a_layer, window_bytes_per_token=2 * a_layer, window=WINDOW)


def test_the_caches_of_hybrid_models_are_looked_into() -> None:
    full, window, chunk, state = KVCache(), RotatingKVCache(max_size=64), ChunkedKVCache(32), ArraysCache(2)
    for cache, heads in ((full, 1), (window, 2), (chunk, 4)):
        cache.update_and_fetch(mx.zeros((1, heads, 10, 8)), mx.zeros((1, heads, 10, 16)))
    a_head = 2 * (8 + 16)
    size = speed.cache_size([CacheList(state, CacheList(full, KVCache())), window, chunk, state])
    assert size == CacheSize(a_head, window_bytes_per_token=6 * a_head, window=64)
