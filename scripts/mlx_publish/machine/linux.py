"""A Linux machine, by what its kernel writes into /proc and /sys; no program is started.

The formats are documented in proc(5) and in the kernel's Documentation/ABI, under the names at each reader.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from mlx_publish.machine.programs import Program, taken_by_others

ROOT = Path("/")
_PAUSE = 0.5
_UNKNOWN = ("os_build", "model", "super_cores", "performance_cores", "efficiency_cores", "gpu_cores")
# A zone is as bad as the worst of the points that it has passed; at "passive" the system begins to slow down.
_TRIPS = {"passive": "fair", "hot": "serious", "critical": "critical"}
_STATES = ("nominal", "fair", "serious", "critical")


def describe(root: Path = ROOT) -> dict[str, Any]:
    """What the machine is; memory in bytes, None where something cannot be read."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "chip": _chip(_read(root / "proc/cpuinfo")),
        "cores": os.cpu_count() or 1,
        "memory_bytes": _memory(),
        **dict.fromkeys(_UNKNOWN),
    }


def state(root: Path = ROOT) -> dict[str, Any]:
    """How the machine is now, over half a second; see `mlx_publish.machine.state.state`."""
    profile = _read(root / "sys/firmware/acpi/platform_profile")
    return {
        "power": _power(root / "sys/class/power_supply"),
        "low_power_mode": profile == "low-power" if profile else None,
        "high_power_mode": profile == "performance" if profile else None,
        "thermal": _thermal(root / "sys/class/thermal"),
        "cpu_speed_limit": _speed_limit(root / "sys/devices/system/cpu/cpufreq"),
        **taken_by_others(programs(root / "proc")),
    }


def programs(proc: Path) -> list[Program]:
    """All processes, with what they take of a core between two looks; ps would tell the average of their whole life.

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
    """Number, parent, ticks used and name of each process; one that ends meanwhile is left out."""
    for stat in proc.glob("[0-9]*/stat"):
        head, _, tail = _read(stat).rpartition(")")
        pid, _, name = head.partition("(")
        fields = tail.split()
        numbers = [_number(text) for text in (pid.strip(), *fields[1:2], *fields[11:13])]
        if len(numbers) == 4 and None not in numbers:
            number, parent, user, system = (one or 0 for one in numbers)
            yield number, parent, user + system, name


def _chip(cpuinfo: str) -> str | None:
    """Name of the processor, or of the board where an ARM kernel names that alone."""
    found = re.findall(r"^(?:model name|Model)\s*:\s*(\S.*?)\s*$", cpuinfo, re.MULTILINE)
    return found[0] if found else None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _power(supplies: Path) -> str | None:
    """Mains where one is plugged in, battery where one discharges. ABI: sysfs-class-power.

    A battery of scope "Device" is a mouse's.
    """
    found = [
        {key: _read(supply / key) for key in ("type", "online", "status", "scope")} for supply in supplies.glob("*")
    ]
    if any(one["type"] in ("Mains", "USB") and one["online"] == "1" for one in found):
        return "mains"
    draining = (
        one["type"] == "Battery" and one["scope"] != "Device" for one in found if one["status"] == "Discharging"
    )
    return "battery" if any(draining) else None


def _thermal(zones: Path) -> str | None:
    """The worst state of any zone whose points are known. ABI: sysfs-class-thermal; temperatures in 1/1000 °C."""
    found = [index for zone in zones.glob("thermal_zone*") if (index := _zone(zone)) is not None]
    return _STATES[max(found)] if found else None


def _zone(zone: Path) -> int | None:
    """Index into the states, or None; a point of zero or less is one that the driver has not set."""
    now, known = _number(_read(zone / "temp")), []
    for kind in zone.glob("trip_point_*_type"):
        limit = _number(_read(kind.with_name(kind.name.replace("_type", "_temp"))))
        reached = _TRIPS.get(_read(kind))
        if now is not None and limit is not None and limit > 0 and reached:
            known.append(_STATES.index(reached) if now >= limit else 0)
    return max(known, default=None)


def _speed_limit(policies: Path) -> int | None:
    """Speed that is allowed now, in percent of the possible, where it is lowest. ABI: sysfs-devices-system-cpu.

    The kernel lowers `scaling_max_freq` when it is too warm, and a user may have.
    """
    found = []
    for policy in policies.glob("policy*"):
        allowed, possible = (_number(_read(policy / name)) for name in ("scaling_max_freq", "cpuinfo_max_freq"))
        if allowed is not None and possible:
            found.append(min(100, round(100 * allowed / possible)))
    return min(found, default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None
