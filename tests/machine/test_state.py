"""The room as a whole: which system is asked, what disturbs a measurement, and how programs are started."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.evidence.records import to_json
from mlx_publish.machine import describe, linux, programs
from mlx_publish.machine import described as engine
from mlx_publish.machine.linux import LinuxMachine
from mlx_publish.machine.programs import Program, Run, Taken, plain_name, run_program, taken_by_others
from mlx_publish.machine.snapshot import Busy, State
from mlx_publish.machine.state import Disturbances, disturbances, state

Mac = Callable[[str], Run]
CALM: dict[str, Any] = {
    "power": "mains",
    "low_power_mode": False,
    "high_power_mode": None,
    "thermal": "nominal",
    "cpu_speed_limit": 100,
    "other_cores": 0.07,
    "busiest": [],
    "load": 0.3,
}
KEYS = {
    "system",
    "os_build",
    "arch",
    "chip",
    "model",
    "cores",
    "super_cores",
    "performance_cores",
    "efficiency_cores",
    "gpu_cores",
    "memory_bytes",
    "python",
}


@pytest.fixture
def on_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")


@pytest.mark.usefixtures("on_a_mac")
def test_a_mac_is_asked_by_its_programs(mac: Mac) -> None:
    found = describe(mac("m4-pro"))
    assert to_json(found).keys() == KEYS
    assert (found.arch, found.chip, found.python) == ("arm64", "Apple M4 Pro", platform.python_version())
    now = state(mac("m4-pro"))
    assert to_json(now).keys() == CALM.keys()
    assert disturbances(now, now) == Disturbances()


@pytest.mark.skipif(platform.system() != "Linux", reason="asks this very machine")
def test_linux_is_asked_without_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: object) -> str:
        raise AssertionError(command)

    monkeypatch.setattr(linux, "_PAUSE", 0.01)
    assert to_json(describe(run)).keys() == KEYS
    assert describe(run) == describe()
    now = state(run)
    assert to_json(now).keys() == CALM.keys()
    assert now.load is not None
    assert now.load >= 0


def test_a_load_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise OSError

    monkeypatch.setattr(os, "getloadavg", fails)
    monkeypatch.setattr(linux, "_PAUSE", 0.01)
    assert state(lambda _command: "").load is None


def test_a_calm_machine_and_an_unknown_one_disturb_nobody() -> None:
    assert disturbances(State(**CALM), State(**CALM)) == Disturbances()
    assert disturbances(State(), State()) == Disturbances()


LOW = {"low_power_mode": True}
REFUSED: list[tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    (LOW, LOW, ("Low power mode was on before and after the measurement.",)),
    ({}, LOW | {"power": "battery"}, ("Low power mode was on after the measurement.",)),
    (
        {"thermal": "fair"},
        {"thermal": "serious"},
        (
            "The thermal state of the machine was fair before the measurement.",
            "The thermal state of the machine was serious after the measurement.",
        ),
    ),
    (
        {"thermal": "critical"},
        {"thermal": "critical"},
        ("The thermal state of the machine was critical before and after the measurement.",),
    ),
    (
        {"cpu_speed_limit": 62},
        {"cpu_speed_limit": None},
        ("The system held the processor at 62 % of its speed before the measurement.",),
    ),
]


@pytest.mark.parametrize(("before", "after", "expected"), REFUSED)
def test_refusals(before: dict[str, Any], after: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert disturbances(State(**(CALM | before)), State(**(CALM | after))).refusals == expected


BUSY = {"other_cores": 1.34, "busiest": [Busy("ffmpeg", 98.6), Busy("mds", 30.0)]}
REMARKED: list[tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    ({"power": "battery"}, {"power": "battery"}, ("The machine ran on battery before and after the measurement.",)),
    ({}, BUSY, ("Other programs took 1.3 cores after the measurement: ffmpeg 99 %, mds 30 %.",)),
    ({"other_cores": 1.9}, BUSY, ("Other programs took 1.9 cores before the measurement.",)),
    ({"other_cores": 0.5}, {"other_cores": None, "busiest": None}, ()),
]


@pytest.mark.parametrize(("before", "after", "expected"), REMARKED)
def test_remarks_refuse_nothing(before: dict[str, Any], after: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert disturbances(State(**(CALM | before)), State(**(CALM | after))) == Disturbances(remarks=expected)


NAMES = [
    ("mds_stores", "mds_stores"),
    ("Google Chrome He", "Google Chrome He"),
    ("Übersetzer", "Übersetzer"),
    ("/Users/alice/bin/thing", "unnamed"),
    ("kworker/u8:2-events", "kworker"),
    ("postgres: alice db", "postgres"),
    ("alice@host", "unnamed"),
    ("\x1b[31mred\n", "[31mred"),
    ("cut\ufffd", "cut"),
    ("", "unnamed"),
    ("x" * 99, "x" * 32),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_names_are_of_programs_only(name: str, expected: str) -> None:
    assert plain_name(name) == expected


def test_a_circle_of_parents_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "getpid", lambda: 7)
    circle = [Program(7, 8, 50.0, "a"), Program(8, 7, 50.0, "b"), Program(9, 9, 50.0, "c")]
    assert taken_by_others(circle) == Taken(0.5, [Busy("c", 50.0)])


def test_programs_start_with_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    lines = run_program([sys.executable, "-c", "import os; [print(f'{k}={v}') for k, v in os.environ.items()]"])
    assert "LC_ALL=C" in lines.splitlines()
    assert "hf_secret" not in lines


def test_output_counts_whatever_the_exit_code() -> None:
    order = "import sys; sys.stdout.buffer.write(b'hw.model: \\xff\\n'); sys.exit('unknown oid')"
    assert run_program([sys.executable, "-c", order]) == "hw.model: \ufffd\n"


def test_a_missing_program_says_nothing(tmp_path: Path) -> None:
    assert run_program([str(tmp_path / "pmset"), "-g"]) == ""
    (tmp_path / "pmset").write_text("no program")
    assert run_program([str(tmp_path / "pmset"), "-g"]) == ""


def test_a_program_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "TIMEOUT", 0.2)
    begin = time.monotonic()
    assert run_program([sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"]) == ""
    assert time.monotonic() - begin < 20


def test_the_engine_adds_its_software(monkeypatch: pytest.MonkeyPatch) -> None:
    engine._described.cache_clear()
    found = engine.machine()
    assert found.keys() == KEYS | {"blas", "versions"}
    assert found == engine.machine()
    monkeypatch.setattr(
        engine, "_described", lambda: LinuxMachine("Linux", None, 1, None, arch="arm64", python="3.13.1")
    )
    bare = engine.machine()
    assert bare["chip"] == "arm64"
    assert bare["memory_bytes"]


def test_a_machine_that_is_only_warm_afterwards_is_a_remark() -> None:
    warm = disturbances(State(thermal="nominal"), State(thermal="fair"))
    assert (len(warm.refusals), len(warm.remarks)) == (0, 1)
    assert disturbances(State(thermal="fair"), State(thermal="fair")).refusals
    assert disturbances(State(thermal="nominal"), State(thermal="serious")).refusals
