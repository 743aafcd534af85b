"""A Linux machine, by what its kernel writes into /proc and /sys; only an NVIDIA GPU is asked for by a program.

The formats are documented in proc(5) and in the kernel's Documentation/ABI, under the names at each reader.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic, sleep

from mlx_publish.machine import nvidia
from mlx_publish.machine.programs import Program, Run, taken_by_others
from mlx_publish.machine.snapshot import LEFT_OUT, State

ROOT = Path("/")
_PAUSE = 0.5
# A zone is as bad as the worst of the points that it has passed; at "passive" the system begins to slow down.
_TRIPS = {"passive": "fair", "hot": "serious", "critical": "critical"}
_STATES = ("nominal", "fair", "serious", "critical")


@dataclass(frozen=True)
class LinuxMachine:
    """What a Linux machine is, in the order in which reports have it; None for what is told of a Mac alone."""

    system: str
    chip: str | None
    """Name of the processor, or of the board where an ARM kernel names that alone."""
    cores: int
    memory_bytes: int | None
    os_build: None = None
    model: None = None
    super_cores: None = None
    performance_cores: None = None
    efficiency_cores: None = None
    gpu_cores: None = None
    gpu: str | None = field(default=None, metadata=LEFT_OUT)
    """Name of the GPU, where MLX computes by CUDA."""
    gpu_memory_bytes: int | None = field(default=None, metadata=LEFT_OUT)
    """The machine's own memory where the GPU shares it."""
    gpu_driver: str | None = field(default=None, metadata=LEFT_OUT)
    arch: str = field(kw_only=True)
    python: str = field(kw_only=True)


def describe(root: Path = ROOT) -> LinuxMachine:
    """Return what the machine is."""
    chip = re.search(r"^(?:model name|Model)\s*:\s*(\S.*?)\s*$", _read(root / "proc/cpuinfo"), re.MULTILINE)
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        memory = None
    return LinuxMachine(
        system=f"{platform.system()} {platform.release()}",
        chip=chip[1] if chip else None,
        cores=os.cpu_count() or 1,
        memory_bytes=memory,
        arch=platform.machine(),
        python=platform.python_version(),
    )


def with_gpu(machine: LinuxMachine, run: Run, root: Path = ROOT) -> LinuxMachine:
    """Return the machine with what is known of its NVIDIA GPU."""
    gpu = nvidia.describe(run, root)
    if gpu is None:
        return machine
    memory = machine.memory_bytes if gpu.unified else gpu.memory_bytes
    return replace(machine, gpu=gpu.name, gpu_memory_bytes=memory, gpu_driver=gpu.driver)


def state(root: Path = ROOT, run: Run | None = None) -> State:
    """Return how the machine is now, over half a second, but for its load; `run` asks an NVIDIA GPU."""
    profile = _read(root / "sys/firmware/acpi/platform_profile")
    # ABI: sysfs-class-thermal.
    zones = [state for zone in root.glob("sys/class/thermal/thermal_zone*") if (state := _zone(zone)) is not None]
    running = programs(root / "proc")
    taken = taken_by_others(running)
    gpu = nvidia.describe(run, root) if run else None
    of_gpu = nvidia.state(run, gpu, running) if run and gpu else nvidia.GpuState()
    return State(
        power=_power(root / "sys/class/power_supply"),
        low_power_mode=profile == "low-power" if profile else None,
        high_power_mode=profile == "performance" if profile else None,
        thermal=_STATES[max(zones)] if zones else None,
        cpu_speed_limit=_speed_limit(root / "sys/devices/system/cpu/cpufreq"),
        other_cores=taken.cores,
        busiest=taken.busiest,
        gpu_slowdown=of_gpu.slowdown,
        gpu_heat_s=of_gpu.heat_s,
        gpu_power_s=of_gpu.power_s,
        gpu_others=of_gpu.others,
    )


def programs(proc: Path) -> list[Program]:
    """Return all processes, with what they take of a core between two looks; ps tells the average of their whole life.

    Source: proc_pid_stat(5). The name stands in brackets and may have some itself; of the fields behind it, the
    second is the parent, the twelfth and thirteenth are the time used, in ticks.
    """
    begin = monotonic()
    before = {pid: ticks for pid, _, ticks, _ in _processes(proc)}
    sleep(_PAUSE)
    # From beginning to beginning: on a busy machine a look takes its time as well.
    ticks_passed = (monotonic() - begin) * os.sysconf("SC_CLK_TCK")
    return [
        Program(pid, parent, 100 * (ticks - before[pid]) / ticks_passed, name)
        for pid, parent, ticks, name in _processes(proc)
        if pid in before
    ]


def _processes(proc: Path) -> Iterator[tuple[int, int, int, str]]:
    """Yield number, parent, ticks used and name of each process; one that ends meanwhile is left out."""
    for stat in proc.glob("[0-9]*/stat"):
        head, _, tail = _read(stat).rpartition(")")
        pid, _, name = head.partition("(")
        fields = tail.split()
        numbers = [_number(text) for text in (pid.strip(), *fields[1:2], *fields[11:13])]
        if len(numbers) == 4 and None not in numbers:
            number, parent, user, system = (number or 0 for number in numbers)
            yield number, parent, user + system, name


def _power(supplies: Path) -> str | None:
    """Return `mains` where one is plugged in, `battery` where one discharges. ABI: sysfs-class-power.

    A battery of scope "Device" is a mouse's.
    """
    keys = ("type", "online", "status", "scope")
    sources = [{key: _read(supply / key) for key in keys} for supply in supplies.glob("*")]
    if any(source["type"] in ("Mains", "USB") and source["online"] == "1" for source in sources):
        return "mains"
    draining = [source for source in sources if source["status"] == "Discharging" and source["scope"] != "Device"]
    return "battery" if any(source["type"] == "Battery" for source in draining) else None


def _zone(zone: Path) -> int | None:
    """Return an index into the states, None if no point is known; one of zero or less (in 1/1000 °C) is not set."""
    now, known = _number(_read(zone / "temp")), []
    for kind in zone.glob("trip_point_*_type"):
        limit = _number(_read(kind.with_name(kind.name.replace("_type", "_temp"))))
        reached = _TRIPS.get(_read(kind))
        if now is not None and limit is not None and limit > 0 and reached:
            known.append(_STATES.index(reached) if now >= limit else 0)
    return max(known, default=None)


def _speed_limit(policies: Path) -> int | None:
    """Return the speed that is allowed now, in percent of the possible, where it is lowest.

    ABI: sysfs-devices-system-cpu.

    The kernel lowers `scaling_max_freq` when it is too warm, and a user may have.
    """
    limits = []
    for policy in policies.glob("policy*"):
        allowed, possible = (_number(_read(policy / name)) for name in ("scaling_max_freq", "cpuinfo_max_freq"))
        if allowed is not None and possible:
            limits.append(min(100, round(100 * allowed / possible)))
    return min(limits, default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None
