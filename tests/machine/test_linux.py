"""Linux, read from folders that look like /proc and /sys, and from the real ones."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_publish.evidence.records import to_json
from mlx_publish.machine import linux, programs
from mlx_publish.machine.snapshot import Busy, State

Machine = Callable[..., Path]
OWN = 700
TICKS = os.sysconf("SC_CLK_TCK")
ON_LINUX = pytest.mark.skipif(platform.system() != "Linux", reason="asks this very machine")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A root folder with the given files."""
    monkeypatch.setattr(programs, "getpid", lambda: OWN)
    monkeypatch.setattr(linux, "sleep", lambda _seconds: None)

    def write(files: dict[str, str | bytes]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return tmp_path

    return write


def supply(name: str, **facts: str) -> dict[str, str]:
    return {f"sys/class/power_supply/{name}/{key}": f"{value}\n" for key, value in facts.items()}


def zone(number: int, temp: str, **trips: str) -> dict[str, str]:
    files = {"temp": temp}
    for at, (kind, limit) in enumerate(trips.items()):
        files |= {f"trip_point_{at}_type": kind, f"trip_point_{at}_temp": limit}
    return {f"sys/class/thermal/thermal_zone{number}/{key}": f"{value}\n" for key, value in files.items()}


def policy(number: int, allowed: str, possible: str) -> dict[str, str]:
    folder = f"sys/devices/system/cpu/cpufreq/policy{number}"
    return {f"{folder}/scaling_max_freq": f"{allowed}\n", f"{folder}/cpuinfo_max_freq": f"{possible}\n"}


def stat(pid: int, parent: int, ticks: int, name: str = "program") -> dict[str, str | bytes]:
    line = f"{pid} ({name}) S {parent} 1 1 0 -1 4194304 100 0 0 0 {ticks} 3 0 0 20 0 1 0 5 1000 10".encode()
    return {f"proc/{pid}/stat": line + b"\n"}


def test_an_empty_machine_tells_nothing(machine: Machine) -> None:
    assert linux.state(machine({})) == State()
    assert linux.describe(machine({})).chip is None


SUPPLIES: list[tuple[dict[str, str], str | None]] = [
    (supply("AC", type="Mains", online="1") | supply("BAT0", type="Battery", status="Charging"), "mains"),
    (supply("AC", type="Mains", online="0") | supply("BAT0", type="Battery", status="Discharging"), "battery"),
    (supply("ucsi", type="USB", online="1") | supply("BAT0", type="Battery", status="Full"), "mains"),
    (supply("BAT0", type="Battery", status="Full"), None),
    (supply("mouse", type="Battery", status="Discharging", scope="Device"), None),
    (supply("AC", type="Mains", online="\x00"), None),
    (supply("UPS", type="UPS", status="Discharging"), None),
]


@pytest.mark.parametrize(("files", "expected"), SUPPLIES)
def test_power(machine: Machine, files: dict[str, str], expected: str | None) -> None:
    assert linux.state(machine(files)).power == expected


PROFILES = [("low-power", True, False), ("balanced", False, False), ("performance", False, True)]


@pytest.mark.parametrize(("profile", "low", "high"), PROFILES)
def test_power_modes(machine: Machine, profile: str, low: bool, high: bool) -> None:
    found = linux.state(machine({"sys/firmware/acpi/platform_profile": f"{profile}\n"}))
    assert (found.low_power_mode, found.high_power_mode) == (low, high)


ZONES: list[tuple[dict[str, str], str | None]] = [
    (zone(0, "45000"), None),
    (zone(0, "45000", passive="95000", critical="105000"), "nominal"),
    (zone(0, "95000", passive="95000", critical="105000"), "fair"),
    (zone(0, "99000", active="50000", passive="95000", hot="98000", critical="105000"), "serious"),
    (zone(0, "45000", critical="105000") | zone(1, "120000", critical="119000"), "critical"),
    (zone(0, "45000", passive="0", critical="-274000"), None),
    (zone(0, "45000", active="40000"), None),
    (zone(0, "hot", critical="105000"), None),
]


@pytest.mark.parametrize(("files", "expected"), ZONES)
def test_thermal(machine: Machine, files: dict[str, str], expected: str | None) -> None:
    assert linux.state(machine(files)).thermal == expected


POLICIES: list[tuple[dict[str, str], int | None]] = [
    (policy(0, "4000000", "4000000"), 100),
    (policy(0, "4000000", "4000000") | policy(1, "2200000", "3300000"), 67),
    (policy(0, "4100000", "4000000"), 100),
    (policy(0, "4000000", "0"), None),
    (policy(0, "", "4000000"), None),
]


@pytest.mark.parametrize(("files", "expected"), POLICIES)
def test_speed_limit(machine: Machine, files: dict[str, str], expected: int | None) -> None:
    assert linux.state(machine(files)).cpu_speed_limit == expected


def test_others_are_those_that_neither_began_us_nor_were_begun_by_us(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {
        1: (0, "init"),
        500: (1, "runner"),
        OWN: (500, "python"),
        701: (OWN, "child"),
        702: (701, "grandchild"),
        503: (500, "neighbour"),
        800: (1, "odd ) name (x"),
        801: (1, "kworker/0:1"),
        802: (1, "fünf"),
        803: (1, "quiet"),
    }
    files = [stat(pid, parent, 1000, name) for pid, (parent, name) in before.items()]
    root = machine({key: value for file in files for key, value in file.items()})
    machine({"proc/900/stat": b"\xff\xfe", "proc/901/stat": "901 (short) S 1", "proc/self/stat": "1 (x) S 0"})

    def pause(_seconds: float) -> None:
        after = {**before, 804: (1, "new")}
        shares = {803: 0.1, 802: 0.3, 801: 0.5, 800: 0.7, 503: 0.9}
        for pid, (parent, name) in after.items():
            machine(stat(pid, parent, 1000 + round(2 * TICKS * shares.get(pid, 0 if pid == 1 else 1)), name))

    monkeypatch.setattr(linux, "sleep", pause)
    monkeypatch.setattr(linux, "monotonic", iter((10.0, 12.0)).__next__)
    found = linux.state(root)
    assert found.other_cores == 2.5
    assert found.busiest == [Busy("neighbour", 90.0), Busy("odd ) name (x", 70.0), Busy("kworker", 50.0)]


CPUINFO: list[tuple[str | bytes, str | None]] = [
    ("processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nprocessor\t: 1\nmodel name\t: AMD EPYC\n", "AMD EPYC"),
    (
        "processor\t: 0\nCPU part\t: 0xd0b\n\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n",
        "Raspberry Pi 5 Model B Rev 1.0",
    ),
    ("processor\t: 0\nCPU implementer\t: 0x61\n", None),
    ("model name\t:\n", None),
    (b"model name\t: \xff\xe9 chip\n", "\ufffd\ufffd chip"),
]


@pytest.mark.parametrize(("cpuinfo", "chip"), CPUINFO)
def test_chip(machine: Machine, cpuinfo: str | bytes, chip: str | None) -> None:
    assert linux.describe(machine({"proc/cpuinfo": cpuinfo})).chip == chip


@ON_LINUX
def test_this_machine_is_described() -> None:
    found = linux.describe()
    assert found.system == f"Linux {os.uname().release}"
    assert found.cores == os.cpu_count()
    assert found.memory_bytes
    assert 1 << 28 < found.memory_bytes < 1 << 50
    assert found.gpu_cores is None
    assert os.uname().nodename not in json.dumps(to_json(found)).split('"')


@ON_LINUX
def test_this_machine_has_a_state() -> None:
    found = linux.state()
    assert found.power in (None, "mains", "battery")
    assert found.thermal in (None, "nominal", "fair", "serious", "critical")
    assert found.other_cores is not None
    assert 0 <= found.other_cores <= 1.1 * (os.cpu_count() or 1)
    assert found.busiest is not None
    assert len(found.busiest) <= 3


@ON_LINUX
def test_a_busy_program_is_seen() -> None:
    order = "print(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", order], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            found = {one.pid: one for one in linux.programs(Path("/proc"))}
        finally:
            child.kill()
    assert found[child.pid].percent > 5
    assert found[child.pid].parent == os.getpid()
