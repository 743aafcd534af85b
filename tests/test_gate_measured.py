"""What becomes of a speed on its way to the card: printed with its machine, or told why not; never of other bytes."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conftest import once
from mlx_publish.commands._table import print_table
from mlx_publish.context import Context
from mlx_publish.evidence.records import to_json
from mlx_publish.evidence.report import Report
from mlx_publish.machine import quiet
from mlx_publish.machine.series import summary
from mlx_publish.machine.snapshot import State
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.stages import STAGES, benchmark_stage
from mlx_publish.stages.runner import chain, run_stages
from mlx_publish.text.console import Console, Level
from mlx_publish.work import Work
from models import answer_table, make_scripted
from pipeline import User, checks, read_json, write_recipe

STEADY = (987.6, 985.4, 988.1, 986.3, 987.2)
FALLING = (987.6, 905.4, 888.1, 830.2, 801.2)
SCATTERED = (987.6, 701.2, 988.1, 655.5, 987.2)
QUIET: dict[str, Any] = {"power": "mains", "low_power_mode": False, "thermal": "nominal", "cpu_speed_limit": 100}
ASKED = {"prompt_tokens": [16, 40], "generation_tokens": 16, "trials": 3, "seconds": 20}


@dataclass(frozen=True)
class Measured:
    """What the stages left of the recipe `root`/m.yaml in `root`/work."""

    root: Path
    said: str = ""

    @property
    def variant(self) -> Path:
        return self.root / "work/m/4bit"

    @property
    def benchmark(self) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.variant / "benchmark.json")["result"]
        return found

    @property
    def evidence(self) -> dict[str, Any]:
        return read_json(self.variant / "model/mlx-publish.json")

    def card(self, label: str = "4bit") -> str:
        """In one line."""
        path = self.root / "work/m" / label / "model/README.md"
        return " ".join(path.read_text(encoding="utf-8").split())

    @property
    def table(self) -> str:
        out, context = io.StringIO(), stage_context(self.root)
        print_table(Console(out), context.variants, context.work)
        return out.getvalue()

    @property
    def chart(self) -> str:
        return (self.variant / "model/ladder.svg").read_text(encoding="utf-8")


def stage_context(root: Path, *force: str, out: io.StringIO | None = None) -> Context:
    recipe = recipe_from_file(root / "m.yaml")
    console = Console(out or io.StringIO(), level=Level.VERBOSE)
    return Context(recipe, recipe.variants, Work(root / "work", recipe.name), console, frozenset(force))


@pytest.fixture(scope="session")
def really(shared: Path) -> Measured:
    """Measured for once by a real run, on whatever machine this is. Only to be read."""

    def make(root: Path) -> None:
        make_scripted(root / "m", answer_table())
        write_recipe(root / "m.yaml", source="./m", variants=["4bit", "8bit"], benchmark=ASKED)
        ended = User(root / "home").run("benchmark", "--verbose", "--recipe", root / "m.yaml", "--work", root / "work")
        (root / "said").write_text(ended.text)

    root = once(shared / "measured", make)
    return Measured(root, (root / "said").read_text())


def length(prompt: int, rates: tuple[float, ...] = STEADY, generation: int = 128) -> dict[str, Any]:
    trials = [{"prompt_tps": 10 * rate, "generation_tps": rate, "first_token_s": 0.25} for rate in rates]
    numbers = {key: to_json(summary([trial[key] for trial in trials])) for key in trials[0]}
    return {
        "prompt_tokens": prompt,
        "generation_tokens": generation,
        "warm_up": trials[:1],
        "trials": trials,
        "peak_memory_bytes": 123_456_789,
        **numbers,
    }


Made = Callable[..., Measured]


@pytest.fixture
def made(really: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Write the card with a made-up measurement: its lengths, its device, the machine before and after it."""

    def make(
        *lengths: dict[str, Any],
        device: str = "cpu",
        by: Mapping[str, str] | None = None,
        before: Mapping[str, Any] = QUIET,
        after: Mapping[str, Any] = QUIET,
    ) -> Measured:
        root, out, states = tmp_path / "mine", io.StringIO(), [State(**before), State(**after)]
        shutil.copytree(really.root, root)
        # The other variant's speed was really measured, and is printed wherever it happened to be steady.
        (root / "work/m/8bit/benchmark.json").unlink()
        told = {
            "device": device,
            "computed_in": "float32",
            "seconds": 180,
            "asked_generation_tokens": 128,
            "asked_trials": 5,
            "lengths": list(lengths) or [length(128), length(512)],
            "left_out": [],
            "peak_memory_bytes": 123_456_789,
            "process_memory_bytes": 234_567_890,
            "cache": {"bytes_per_token": 100, "window_bytes_per_token": 10, "window": 64},
            **(by or {}),
        }
        monkeypatch.setattr(benchmark_stage, "run_job", lambda *_: json.loads(json.dumps(told)))
        monkeypatch.setattr(quiet, "time", SimpleNamespace(sleep=lambda _: None))
        monkeypatch.setattr(benchmark_stage, "state", lambda: states[0] if len(states) == 1 else states.pop(0))
        context = replace(
            stage_context(root, "benchmark", out=out), variants=recipe_from_file(root / "m.yaml").variants[:1]
        )
        for stage in ("benchmark", "card"):
            assert run_stages(context, chain(STAGES, stage)) == ()
        return Measured(root, " ".join(out.getvalue().split()))

    return make


def numbers(text: str) -> list[str]:
    """The made-up speeds in a text: no other number of a card begins so."""
    return re.findall(r"\b(?:98[5-9]|9,8[5-9]\d)(?:\.\d)?\b", text)


# The lengths where they are odd, the state of the machine where it is, and the reason that the card gives.
REFUSED: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str]] = {
    "low power mode": (
        [],
        {"before": QUIET | {"low_power_mode": True}, "after": QUIET | {"low_power_mode": True}},
        "low power mode was on before and after the measurement",
    ),
    "heat": (
        [],
        {"after": QUIET | {"thermal": "serious"}},
        "the thermal state of the machine was serious after the measurement",
    ),
    "a slowed processor": (
        [],
        {"after": QUIET | {"cpu_speed_limit": 60}},
        "the system held the processor at 60 % of its speed after the measurement",
    ),
    "drift": (
        [length(512, FALLING)],
        {},
        "drift: it fell by 19% from 9876.0 to 8012.0 prompt tokens/s (Linux, CPU; prompts of 512 tokens); drift: it fell",
    ),
    "spread": (
        [length(512, SCATTERED)],
        {},
        "spread: 6555.0 to 9881.0, 34% of the median prompt tokens/s (Linux, CPU; prompts of 512 tokens)",
    ),
    "too few tokens": ([length(512, generation=8)], {}, "too few tokens: 8"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_speed_that_nobody_can_repeat_is_not_printed(made: Made, case: str) -> None:
    lengths, states, reason = REFUSED[case]
    found = made(*lengths, **states)
    assert found.evidence["benchmark"] is None
    assert re.match(rf", because measured, [^:]+: {re.escape(reason)}", found.evidence["missing"]["benchmark"])
    assert found.evidence["ladder"][0]["generation_tps"] is None
    text = re.sub(r"\\(?=[^\w\s])", "", found.card())
    assert re.search(rf"\*\*Speed\*\* was measured, [^:]+: {re.escape(reason)}", text)
    assert ".." not in text.partition("**Speed**")[2].partition("##")[0]
    # Those in the reason are what was wrong with them.
    assert numbers(text.replace(found.evidence["missing"]["benchmark"].removeprefix(", because "), "")) == []
    assert numbers(found.table) == numbers(found.chart) == []
    assert "warn measured" in found.said


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_printed_stays_in_the_report(made: Made, case: str) -> None:
    lengths, states, reason = REFUSED[case]
    told = made(*lengths, **states).benchmark
    assert told["lengths"] == (lengths or [length(128), length(512)])
    # Nothing that a person has to change goes away by waiting, nor do too few tokens.
    assert ("other_series" in told) == (case in ("drift", "spread"))
    assert told["not_measured"].partition(": ")[2].startswith(reason)
    expected = {"before": QUIET, "after": QUIET} | states
    assert told["state"] == {when: to_json(State(**state)) for when, state in expected.items()}


def test_a_mac_that_computed_on_its_cpu_has_no_number(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_stage, "platform", SimpleNamespace(system=lambda: "Darwin"))
    found = made(device="cpu")
    assert found.evidence["benchmark"] is None
    assert "measured, but not published: MLX ran on this Mac's CPU, not on its GPU" in found.card()
    assert numbers(found.card()) == []


def test_what_is_steady_is_printed_with_its_machine(made: Made) -> None:
    found = made()
    assert found.evidence["missing"].keys() == {"smoke", "fidelity"}
    assert found.evidence["benchmark"]["lengths"][1]["generation_tps"]["median"] == 987.2
    assert found.evidence["ladder"][0]["generation_tps"] == 987.2
    speed = found.card().partition("**Speed**")[2].partition("##")[0]
    assert numbers(speed)
    assert "Measured on Linux" in speed
    assert "**CPU only**" in speed


def test_every_number_of_a_cpu_says_so(made: Made) -> None:
    """In the table, on the card, on the chart and on the console."""
    found = made()
    [row] = [line for line in found.table.splitlines() if numbers(line)]
    assert "CPU" in row
    card = (found.variant / "model/README.md").read_text(encoding="utf-8")
    sections = [part for part in card.split("\n## ") if numbers(part)]
    assert sections
    assert [part.splitlines()[0] for part in sections if "CPU" not in part] == []
    assert "Linux" in card
    assert "Tokens/s (CPU)" in found.chart
    told = [part for part in re.split(r"(?= (?:ok|warn|FAIL|skip) )", found.said) if numbers(part)]
    assert told
    assert [part for part in told if "Linux, CPU" not in part] == []


def test_the_gpus_number_is_a_number_without_a_word(made: Made) -> None:
    found = made(device="gpu")
    assert numbers(found.card())
    for text in (found.table, found.card().replace("Computed by MLX's CPU backend", ""), found.chart):
        assert "CPU" not in text


def test_every_number_of_an_nvidia_gpu_says_so(made: Made) -> None:
    """In the table, on the card, on the chart and on the console; none is taken for a CPU's or a Mac's."""
    found = made(device="gpu", by={"backend": "cuda", "gpu": "NVIDIA H100 80GB HBM3"})
    [row] = [line for line in found.table.splitlines() if numbers(line)]
    assert "(CUDA)" in row
    card = (found.variant / "model/README.md").read_text(encoding="utf-8")
    sections = [part for part in card.split("\n## ") if numbers(part)]
    assert sections
    assert [part.splitlines()[0] for part in sections if "CUDA" not in part] == []
    assert "**NVIDIA H100 80GB HBM3, CUDA**" in card
    assert "A Mac's GPU gives other numbers." in " ".join(card.split())
    assert "CPU only" not in card
    assert "Tokens/s (CUDA)" in found.chart
    assert found.evidence["ladder"][0]["chip"] == "NVIDIA H100 80GB HBM3"
    told = [part for part in re.split(r"(?= (?:ok|warn|FAIL|skip) )", found.said) if numbers(part)]
    assert told
    assert [part for part in told if "NVIDIA H100 80GB HBM3, CUDA" not in part] == []


def test_reports_of_other_machines_have_no_new_key(made: Made) -> None:
    found = made(device="gpu")
    assert "backend" not in found.evidence["benchmark"]
    assert ["backend" in rung for rung in found.evidence["ladder"]] == [False] * len(found.evidence["ladder"])


def test_warm_after_the_measurement_is_told_beside_the_number(made: Made) -> None:
    found = made(after=QUIET | {"thermal": "fair"})
    assert numbers(found.card())
    assert "The thermal state of the machine was fair after the measurement." in found.said
    assert "thermal state of the machine was fair" in found.card()


def test_the_memory_at_the_full_context_is_weights_and_cache(made: Made) -> None:
    found = made()
    weights = read_json(found.variant / "convert.json")["result"]["weight_bytes"]
    # 2,048 is the context of the source; a layer with a window stops growing at 64.
    assert found.benchmark["context"] == {"tokens": 2048, "bytes": weights + 100 * 2048 + 10 * 64}


def test_a_real_run_is_of_this_machine(really: Measured) -> None:
    found = really.benchmark
    machine = found["machine"]
    assert machine["system"].startswith("Linux ")
    assert machine["versions"]["mlx"]
    assert machine["memory_bytes"] > 1e9
    assert found["state"].keys() == {"before", "after"}
    assert "other_cores" in found["state"]["after"]
    assert [(one["prompt_tokens"], one["generation_tokens"]) for one in found["lengths"]] == [(16, 16), (40, 16)]
    assert all(len(one["trials"]) == 3 for one in found["lengths"])
    # One layer with one head of 64, for keys and for values.
    assert found["cache"] == {
        "bytes_per_token": 2 * 64 * 2,
        "window_bytes_per_token": 0,
        "window": 0,
        "fixed_bytes": 0,
        "unknown_layers": 0,
    }
    assert read_json(really.variant / "benchmark.json")["verdict"] == "pass"
    assert set(checks(really.variant, "benchmark")) == {"steady", "machine-at-rest", "device", "enough"}
    assert "measured on the CPU under Linux" in really.said
    assert "Linux, CPU" in really.said


def test_a_length_beyond_the_context_is_left_out_and_told(
    really: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "mine"
    shutil.copytree(really.root, root)
    recipe = read_json(root / "m.yaml") | {"benchmark": {"prompt_tokens": [128, 2048], "generation_tokens": 128}}
    (root / "m.yaml").write_text(json.dumps(recipe))
    orders: list[dict[str, Any]] = []

    def run_job(job: Any, _: object) -> dict[str, Any]:
        orders.append(dict(job.arguments))
        cache = dict.fromkeys(("bytes_per_token", "window_bytes_per_token", "window"), 0)
        return {
            "device": "cpu",
            "computed_in": "float32",
            "seconds": 180,
            "asked_generation_tokens": 128,
            "asked_trials": 5,
            "lengths": [length(128)],
            "left_out": [],
            "cache": cache,
            "peak_memory_bytes": 0,
            "process_memory_bytes": 0,
        }

    monkeypatch.setattr(benchmark_stage, "run_job", run_job)
    monkeypatch.setattr(benchmark_stage, "state", lambda: State(**QUIET))
    context = stage_context(root)
    found = benchmark_stage.run(context, context.variants[:1])["4bit"]
    assert [order["prompt_tokens"] for order in orders] == [[128]]
    assert to_json(found.result)["left_out"] == [{"prompt_tokens": 2048, "why": "the model's context is shorter"}]
    assert "left out: prompts of 2048 tokens (the model's context is shorter)" in {one.message for one in found.checks}


def of_other_bytes(root: Path, label: str, stage: str) -> None:
    """Let a report be of another model, as it is after the model was converted anew."""
    path = root / "work/m" / label / f"{stage}.json"
    report = read_json(path)
    report["inputs"]["model"] = "f" * 64
    put_report(root, label, report)


def put_report(root: Path, label: str, report: dict[str, Any]) -> None:
    """Write a report as a stage does, with its digest."""
    Work(root / "work", "m").write_report(label, Report.from_json(report))


def test_a_number_of_other_bytes_is_never_rendered(made: Made) -> None:
    found = made()
    assert numbers(found.card())
    of_other_bytes(found.root, "4bit", "benchmark")
    context = stage_context(found.root)
    assert run_stages(context, chain(STAGES, "card")) == ("4bit",)
    assert checks(found.variant, "card")["numbers-bound"] == "fail"
    assert found.evidence["benchmark"] is None
    assert found.evidence["missing"]["benchmark"] == ", because the last measurement was of different bytes"
    # Nor beside its siblings, on their cards or in their charts.
    for label in ("4bit", "8bit"):
        assert numbers(found.card(label)) == []
        assert numbers((found.root / f"work/m/{label}/model/ladder.svg").read_text()) == []


def test_a_number_of_a_refused_measurement_is_never_rendered(made: Made) -> None:
    found = made()
    report = read_json(found.variant / "benchmark.json") | {"verdict": "error"}
    put_report(found.root, "4bit", report)
    context = stage_context(found.root)
    run_stages(context, chain(STAGES, "card"))
    assert found.evidence["benchmark"] is None
    assert numbers(found.card()) == numbers(found.card("8bit")) == []


@dataclass
class Series:
    """Two series of a variant on a clock of their own, and orders and pauses as they came."""

    seconds: float
    """How long each takes."""
    now: float = 0.0
    orders: list[int] = field(default_factory=list)
    """The seconds that each series was given."""
    paused: float = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.paused += seconds


Twice = Callable[..., tuple[Measured, Series]]


@pytest.fixture
def twice(really: Measured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Twice:
    """Measure by made-up series, of which the last one repeats; `states` likewise."""

    def make(
        *series: tuple[float, ...], states: tuple[Mapping[str, Any], ...] = (QUIET,), took: float = 4.0, **asked: Any
    ) -> tuple[Measured, Series]:
        root, out, clock = tmp_path / "mine", io.StringIO(), Series(took)
        shutil.copytree(really.root, root)
        recipe = read_json(root / "m.yaml")
        (root / "m.yaml").write_text(json.dumps(recipe | {"benchmark": {**ASKED, "seconds": 180, **asked}}))
        rates, seen = list(series), [State(**state) for state in states]
        whole = read_json(really.variant / "benchmark.json")["result"]
        engine = {key: whole[key] for key in ("computed_in", "asked_generation_tokens", "asked_trials", "left_out")}
        engine |= {key: whole[key] for key in ("cache", "peak_memory_bytes", "process_memory_bytes")}

        def run_job(job: Any, _: object) -> dict[str, Any]:
            clock.now += clock.seconds
            clock.orders.append(job.arguments["seconds"])
            trials = rates[0] if len(rates) == 1 else rates.pop(0)
            told = {**engine, "device": "cpu", "seconds": job.arguments["seconds"], "lengths": [length(512, trials)]}
            return dict(json.loads(json.dumps(told)))

        monkeypatch.setattr(benchmark_stage, "run_job", run_job)
        monkeypatch.setattr(benchmark_stage, "state", lambda: seen[0] if len(seen) == 1 else seen.pop(0))
        monkeypatch.setattr(benchmark_stage, "time", clock)
        monkeypatch.setattr(quiet, "time", clock)
        context = replace(
            stage_context(root, "benchmark", out=out), variants=recipe_from_file(root / "m.yaml").variants[:1]
        )
        assert run_stages(context, chain(STAGES, "benchmark")) == ()
        return Measured(root, " ".join(out.getvalue().split())), clock

    return make


BUSY = QUIET | {"other_cores": 3.0}


def test_an_unsteady_speed_is_measured_again_once_the_machine_is_quiet(twice: Twice) -> None:
    found, clock = twice(SCATTERED, STEADY, states=(BUSY, BUSY, BUSY, BUSY, QUIET))
    told = found.benchmark
    assert told["not_measured"] is None
    assert told["lengths"][0]["generation_tps"]["median"] == 987.2
    assert clock.paused == 15, "it looked three times, and went on at the first quiet look"
    assert clock.orders == [180, 161], "the second series has what is left of the time"
    assert "ok steady 4bit: generation tokens/s (Linux, CPU): 987.2" in found.said
    assert "measured again after a wait of 15 s, since the first series was too unsteady (±34 %)" in found.said
    other = told["other_series"]
    assert (other["number"], other["waited_s"]) == (1, 15)
    assert other["not_measured"].startswith("measured, too unsteady to publish (±34 %): spread")
    assert other["lengths"] == [length(512, SCATTERED)]
    assert other["state"]["before"]["other_cores"] == 3.0


def test_of_two_unsteady_series_the_steadier_one_is_reported(twice: Twice) -> None:
    found, clock = twice(FALLING, SCATTERED)
    told = found.benchmark
    assert told["not_measured"].startswith("measured, too unsteady to publish (±11 %): drift")
    assert (told["other_series"]["number"], told["lengths"]) == (2, [length(512, FALLING)])
    assert "measured again after a wait of 5 s: too unsteady (±34 %) too" in found.said
    assert len(clock.orders) == 2, "there is no third one"


def test_a_machine_that_stays_busy_is_waited_for_one_minute_at_most(twice: Twice) -> None:
    _, clock = twice(SCATTERED, STEADY, states=(BUSY,))
    assert (clock.paused, len(clock.orders)) == (60, 2)


@pytest.mark.parametrize(("took", "seconds", "series", "paused"), [(10, 20, 1, 0), (8, 20, 1, 0), (7, 20, 2, 5)])
def test_both_series_and_the_wait_take_no_longer_than_the_recipe_gives(
    twice: Twice, took: float, seconds: int, series: int, paused: float
) -> None:
    _, clock = twice(SCATTERED, STEADY, states=(BUSY,), took=took, seconds=seconds)
    assert (len(clock.orders), clock.paused) == (series, paused)
    assert clock.now <= seconds


@pytest.mark.parametrize(
    ("trials", "state"),
    [(STEADY, BUSY), (SCATTERED, QUIET | {"low_power_mode": True})],
)
def test_nothing_is_measured_again_where_that_cannot_help(
    twice: Twice, trials: tuple[float, ...], state: dict[str, Any]
) -> None:
    found, clock = twice(trials, STEADY, states=(state,))
    assert (len(clock.orders), clock.paused) == (1, 0)
    assert "other_series" not in found.benchmark
