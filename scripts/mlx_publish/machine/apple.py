"""A Mac, by the programs that macOS 13 to 26 bring along. None of them needs rights.

What they print is documented in their manual pages; where those are silent, in Apple's sources and headers, which are
named at each reader.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mlx_publish.machine.programs import Program, Run, taken_by_others
from mlx_publish.machine.snapshot import State
from mlx_publish.text.bounds import ANSWER
from mlx_publish.text.json_text import parse

_LEVELS = 3
SYSCTL = (
    "/usr/sbin/sysctl",
    "machdep.cpu.brand_string",
    "hw.model",
    "hw.memsize",
    "hw.logicalcpu",
    "hw.nperflevels",
    *(f"hw.perflevel{level}.{key}" for level in range(_LEVELS) for key in ("name", "physicalcpu")),
)
SW_VERS = ("/usr/bin/sw_vers",)
# Not SPHardwareDataType, which has nothing that sysctl lacks but the machine's serial number.
DISPLAYS = ("/usr/sbin/system_profiler", "-json", "SPDisplaysDataType")
SETTINGS = ("/usr/bin/pmset", "-g")
BATTERY = ("/usr/bin/pmset", "-g", "batt")
THERMAL = ("/usr/bin/pmset", "-g", "therm")
THERMAL_STATE = (
    "/usr/bin/osascript",
    "-l",
    "JavaScript",
    "-e",
    "ObjC.import('Foundation'); $.NSProcessInfo.processInfo.thermalState",
)
# `ucomm` is the name that the kernel keeps for accounting, `comm` a path. One -o each: by POSIX, a header that is given
# takes the rest of its argument.
PS = ("/bin/ps", "-ax", "-o", "pid=", "-o", "ppid=", "-o", "pcpu=", "-o", "ucomm=")

_CORES = ("Super", "Performance", "Efficiency")
_SOURCES = {"AC Power": "mains", "Battery Power": "battery"}
_STATES = ("nominal", "fair", "serious", "critical")
# By the level of `Thermal Warning Level = 5` that pmset prints. xnu's IOPM.h has the values; 255 is unknown.
_WARNINGS = {"0": "nominal", "5": "serious", "10": "critical", "100": "serious", "110": "critical"}


@dataclass(frozen=True)
class Mac:
    """What a Mac is, in the order in which reports have it; memory in bytes, None where something cannot be read."""

    system: str
    os_build: str | None
    chip: str | None
    model: str | None
    cores: int
    """All that programs may use."""
    super_cores: int | None
    """Of each kind, by the names that macOS gives them."""
    performance_cores: int | None
    efficiency_cores: int | None
    gpu_cores: int | None
    memory_bytes: int | None
    arch: str = field(kw_only=True)
    python: str = field(kw_only=True)


def describe(run: Run) -> Mac:
    """Return what the Mac is."""
    version, build = _version(run(SW_VERS))
    keys = _keys(run(SYSCTL))
    kinds = _core_kinds(keys)
    return Mac(
        system=f"macOS {version}" if version else "macOS",
        os_build=build,
        chip=keys.get("machdep.cpu.brand_string"),
        model=keys.get("hw.model"),
        cores=_number(keys.get("hw.logicalcpu")) or os.cpu_count() or 1,
        super_cores=kinds.get("Super"),
        performance_cores=kinds.get("Performance"),
        efficiency_cores=kinds.get("Efficiency"),
        gpu_cores=_gpu_cores(run(DISPLAYS)),
        memory_bytes=_number(keys.get("hw.memsize")),
        arch=platform.machine(),
        python=platform.python_version(),
    )


def state(run: Run) -> State:
    """Return how the Mac is now, but for its load."""
    low, high = _power_mode(run(SETTINGS))
    therm = run(THERMAL)
    taken = taken_by_others(programs(run(PS)))
    # A UPS is neither of our sources of power; the other lines are one a battery.
    source = _last(r"^Now drawing from '([^']*)'", run(BATTERY))
    # "Note: No thermal warning level has been recorded" says that there is no level, not that all is well.
    level = _last(r"Thermal Warning Level[ \t]*=[ \t]*(\d+)$", therm)
    states = (_thermal_state(run(THERMAL_STATE)), _WARNINGS.get(level or ""))
    return State(
        power=_SOURCES.get(source or ""),
        low_power_mode=low,
        high_power_mode=high,
        thermal=max((state for state in states if state), key=_STATES.index, default=None),
        cpu_speed_limit=_number(_last(r"CPU_Speed_Limit[ \t]*=[ \t]*(\d+)$", therm)),
        other_cores=taken.cores,
        busiest=taken.busiest,
    )


def programs(text: str) -> list[Program]:
    """Return the programs that `PS` lists, each by its number, its parent's, percent of one core, and a name.

    The percentage is an average of the last minute at most (ps(1)); the name has at most 16 bytes, blanks included.
    """
    lines = (
        re.fullmatch(r"\s*(\d{1,9})\s+(\d{1,9})\s+(\d{1,9}(?:\.\d+)?)\s+(.*?)\s*", line) for line in text.splitlines()
    )
    return [Program(int(line[1]), int(line[2]), float(line[3]), line[4]) for line in lines if line]


def _keys(text: str) -> dict[str, str]:
    """Return `key: value` lines, as sysctl and sw_vers print them; a key that sysctl does not know is left out."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs if value.strip()}


def _version(text: str) -> tuple[str | None, str | None]:
    """Return version and build.

    A rapid security response has a third line since macOS 13, as `ProductVersionExtra: (a)`.
    """
    keys = _keys(text)
    version, extra = keys.get("ProductVersion"), keys.get("ProductVersionExtra")
    return (f"{version} {extra}" if version and extra else version), keys.get("BuildVersion")


def _core_kinds(keys: Mapping[str, str]) -> dict[str, int]:
    """Count cores by their kind, which macOS gives as the name of a performance level; empty if they are not known.

    An M5 Max has Super and Performance, its predecessors Performance and Efficiency. A virtual machine has one level
    called Standard, which says nothing.
    """
    levels = range(min(_number(keys.get("hw.nperflevels")) or 0, _LEVELS + 1))
    cores = {keys.get(f"hw.perflevel{n}.name", ""): _number(keys.get(f"hw.perflevel{n}.physicalcpu")) for n in levels}
    known = {name: count for name, count in cores.items() if count is not None}
    if not cores or known != cores or not known.keys() <= {*_CORES}:
        return {}
    return {name: known.get(name, 0) for name in _CORES}


def _gpu_cores(text: str) -> int | None:
    """Return the cores of the first GPU that has `sppci_cores`, a string or a number; a virtual one has not."""
    try:
        cards = parse(text, ANSWER)["SPDisplaysDataType"]
        counts = [_number(str(card["sppci_cores"])) for card in cards if "sppci_cores" in card]
    except (ValueError, KeyError, TypeError):
        return None
    return next(iter(counts), None)


def _power_mode(text: str) -> tuple[bool | None, bool | None]:
    """Return whether low and high power mode are on, by the settings in use; None if there is no such setting.

    `lowpowermode` is 0 or 1. A Mac with a high power mode has `powermode` in its place (0 automatic, 1 low, 2 high)
    or, on older systems, `highpowermode` beside it.
    """
    settings = dict(re.findall(r"^[ \t]*((?:low|high)?powermode)[ \t]+([012])[ \t]*$", text, re.MULTILINE))
    if not settings:
        return None, None
    mode = settings.get("powermode", settings.get("lowpowermode"))
    return (mode == "1" if mode else None), mode == "2" or settings.get("highpowermode") == "1"


def _thermal_state(text: str) -> str | None:
    """Read NSProcessInfo.thermalState: 0 nominal, 1 fair, 2 serious, 3 critical (Apple's documentation of Foundation).

    On Apple silicon no other source speaks: pmset is not known to record a level there.
    """
    value = _number(text.strip())
    return _STATES[value] if value is not None and value < len(_STATES) else None


def _last(pattern: str, text: str) -> str | None:
    matches: list[str] = re.findall(pattern, text, re.MULTILINE)
    return matches[-1] if matches else None


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"[0-9]{1,18}", text) else None
