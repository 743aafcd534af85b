"""Macs of several kinds, read from what their programs print."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mlx_publish.evidence.records import to_json
from mlx_publish.machine import apple
from mlx_publish.machine.programs import Run, run_program
from mlx_publish.machine.snapshot import Busy, State

Mac = Callable[[str], Run]
GIB = 1 << 30
NAMES = ("m1", "m1-pro", "m2-ultra", "m3-max", "m4", "m4-pro", "m5-max", "virtual", "warned", "sandboxed", "garbage")
NOTHING_TOLD: dict[str, Any] = {
    "power": None,
    "low_power_mode": None,
    "high_power_mode": None,
    "thermal": None,
    "cpu_speed_limit": None,
    "other_cores": None,
    "busiest": None,
}
CALM: dict[str, Any] = {
    "power": "mains",
    "low_power_mode": False,
    "high_power_mode": False,
    "thermal": "nominal",
    "cpu_speed_limit": None,
    "other_cores": 0.07,
    "busiest": [],
}

# Name; system, build, chip, model; all cores, super, performance, efficiency, of the GPU; memory in GiB.
KINDS: list[tuple[str, tuple[str, str, str, str], tuple[int | None, ...], int]] = [
    ("m1", ("macOS 13.4.1 (c)", "22F770820d", "Apple M1", "MacBookAir10,1"), (8, 0, 4, 4, 7), 8),
    ("m1-pro", ("macOS 14.7.1", "23H222", "Apple M1 Pro", "MacBookPro18,3"), (10, 0, 8, 2, 16), 16),
    ("m2-ultra", ("macOS 15.5", "24F74", "Apple M2 Ultra", "Mac14,14"), (24, 0, 16, 8, 76), 192),
    ("m3-max", ("macOS 15.6.1", "24G90", "Apple M3 Max", "Mac15,9"), (16, 0, 12, 4, 40), 64),
    ("m4", ("macOS 26.1", "25B78", "Apple M4", "Mac16,10"), (10, 0, 4, 6, 10), 16),
    ("m4-pro", ("macOS 26.1", "25B78", "Apple M4 Pro", "Mac16,11"), (14, 0, 10, 4, 20), 64),
    ("m5-max", ("macOS 26.4", "25E246", "Apple M5 Max", "Mac17,6"), (18, 6, 12, 0, 40), 128),
    ("virtual", ("macOS 15.7", "24G222", "Apple M1 (Virtual)", "VirtualMac2,1"), (3, None, None, None, None), 7),
]


@pytest.mark.parametrize(("name", "words", "cores", "memory"), KINDS)
def test_what_it_is(mac: Mac, name: str, words: tuple[str, ...], cores: tuple[int | None, ...], memory: int) -> None:
    found = apple.describe(mac(name))
    assert tuple(getattr(found, key) for key in ("system", "os_build", "chip", "model")) == words
    kinds = ("cores", "super_cores", "performance_cores", "efficiency_cores", "gpu_cores")
    assert tuple(getattr(found, key) for key in kinds) == cores
    assert found.memory_bytes == memory * GIB
    assert found == apple.describe(mac(name))


@pytest.mark.parametrize("name", ["sandboxed", "garbage", "missing"])
def test_what_cannot_be_read_is_none(mac: Mac, name: str) -> None:
    found = apple.describe(mac(name) if name != "missing" else lambda _command: "")
    known = {key: value for key, value in vars(found).items() if value is not None}
    assert known.pop("system") == "macOS"
    assert known.pop("cores") == os.cpu_count()
    assert known.keys() == {"arch", "python"}


STATES: list[tuple[str, dict[str, Any]]] = [
    ("m1", CALM),
    ("m1-pro", CALM | {"power": "battery", "low_power_mode": True, "other_cores": 0.27}),
    ("m2-ultra", CALM | {"low_power_mode": None, "high_power_mode": None}),
    ("m3-max", CALM | {"high_power_mode": True, "thermal": "serious"}),
    ("m4-pro", CALM),
    ("m5-max", CALM | {"low_power_mode": True}),
    ("virtual", CALM | {"low_power_mode": None, "high_power_mode": None}),
    (
        "warned",
        NOTHING_TOLD
        | {
            "low_power_mode": False,
            "high_power_mode": True,
            "thermal": "serious",
            "cpu_speed_limit": 62,
        },
    ),
    ("sandboxed", NOTHING_TOLD),
]


@pytest.mark.parametrize(("name", "expected"), STATES)
def test_how_it_is(mac: Mac, name: str, expected: dict[str, Any]) -> None:
    assert apple.state(mac(name)) == State(**expected)


def test_missing_programs_tell_nothing() -> None:
    assert apple.state(lambda _command: "") == State(**NOTHING_TOLD)


def test_the_three_busiest_others_are_named(mac: Mac) -> None:
    found = apple.state(mac("m4"))
    assert found.other_cores == 2.99
    assert found.busiest == [Busy("Google Chrome He", 104.3), Busy("mds_stores", 61.2), Busy("Übersetzer", 61.2)]


def test_garbage_tells_only_what_is_a_process(mac: Mac) -> None:
    found = apple.state(mac("garbage"))
    assert found == State(other_cores=1.97, busiest=[Busy("unnamed", 99.0), Busy("sshd-session", 98.0)])


NOTE = "Note: No thermal warning level has been recorded\n"
LEVELS: list[tuple[str, str, str | None]] = [
    ("", "", None),
    ("", NOTE, None),
    ("0\n", NOTE, "nominal"),
    ("1\n", NOTE, "fair"),
    ("2\n", "", "serious"),
    ("3\n", "Thermal Warning Level = 0\n", "critical"),
    ("4\n", "", None),
    ("-1\n", "", None),
    ("fair\n", "", None),
    ("", "2026-08-20 05:08:37 -0700 Thermal Warning Level = 0\n", "nominal"),
    ("0\n", "Thermal Warning Level = 0\nThermal Warning Level = 100\n", "serious"),
    ("1\n", "Thermal Warning Level = 10\n", "critical"),
    ("", "Thermal Warning Level = 110\n", "critical"),
    ("1\n", "Thermal Warning Level = 255\n", "fair"),
    ("", "Thermal Warning Level = 7\n", None),
    ("", "Error:Failed to get thermal warning level with error code 0xe00002bc\n", None),
]


@pytest.mark.parametrize(("own", "recorded", "expected"), LEVELS)
def test_the_worse_of_two_thermal_sources_counts(own: str, recorded: str, expected: str | None) -> None:
    answers = {apple.THERMAL_STATE: own, apple.THERMAL: recorded}
    assert apple.state(lambda command: answers.get(tuple(command), "")).thermal == expected


MODES: list[tuple[str, bool | None, bool | None]] = [
    (" lowpowermode         1\n", True, False),
    (" powermode            0\n", False, False),
    (" powermode            1\n", True, False),
    ("powermode            2\n", False, True),
    (" lowpowermode         0\n highpowermode        1\n", False, True),
    (" highpowermode        0\n", None, False),
    (" sleep 1 (sleep prevented by lowpowermode 1)\n", None, None),
    (" powermode            3\n", None, None),
]


@pytest.mark.parametrize(("text", "low", "high"), MODES)
def test_power_modes(text: str, low: bool | None, high: bool | None) -> None:
    found = apple.state(lambda command: text if command == apple.SETTINGS else "")
    assert (found.low_power_mode, found.high_power_mode) == (low, high)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "null", "[]", '{"SPDisplaysDataType": 7}', '{"SPDisplaysDataType": []}']
)
def test_displays_of_another_shape(text: str) -> None:
    assert apple.describe(lambda command: text if command == apple.DISPLAYS else "").gpu_cores is None


def test_gpu_cores_may_be_a_number() -> None:
    text = '{"SPDisplaysDataType": [{"_name": "eGPU"}, {"sppci_cores": 40}]}'
    assert apple.describe(lambda command: text if command == apple.DISPLAYS else "").gpu_cores == 40


def test_three_kinds_of_cores() -> None:
    levels = (("Super", 2), ("Performance", 4), ("Efficiency", 6))
    lines = [f"hw.perflevel{at}.name: {name}\nhw.perflevel{at}.physicalcpu: {n}" for at, (name, n) in enumerate(levels)]
    text = "\n".join((*lines, "hw.nperflevels: 3"))
    found = apple.describe(lambda command: text if command == apple.SYSCTL else "")
    assert [getattr(found, f"{kind}_cores") for kind in ("super", "performance", "efficiency")] == [2, 4, 6]
    four = text.replace("hw.nperflevels: 3", "hw.nperflevels: 4")
    assert apple.describe(lambda command: four if command == apple.SYSCTL else "").super_cores is None


@pytest.mark.parametrize("name", NAMES)
def test_nothing_names_a_person_or_one_machine(mac: Mac, name: str) -> None:
    told = json.dumps(to_json([apple.describe(mac(name)), apple.state(mac(name))]), ensure_ascii=False).lower()
    for secret in ("alice", "büro", "c02", "fd626d62", "24182883", "hf_", "ttys", "/users", "/", "back-ups"):
        assert secret not in told
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", told)


def test_programs_are_asked_for_by_their_places() -> None:
    asked: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> str:
        asked.append(command)
        return ""

    apple.describe(run)
    apple.state(run)
    assert {command[0] for command in asked} == {
        "/usr/bin/sw_vers",
        "/usr/sbin/sysctl",
        "/usr/sbin/system_profiler",
        "/usr/bin/pmset",
        "/usr/bin/osascript",
        "/bin/ps",
    }
    assert "SPHardwareDataType" not in " ".join(part for command in asked for part in command)


def test_the_real_ps_is_understood() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = {one.pid: one for one in apple.programs(run_program(apple.PS))}
        child.communicate(b"\n")
    assert found[child.pid].parent == os.getpid()
    assert found[os.getpid()].parent == os.getppid()
    assert "python" in found[child.pid].name
    assert all(one.percent >= 0 for one in found.values())
