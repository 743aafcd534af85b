"""A Mac, by the programs that macOS 13 to 26 bring along. None of them needs rights.

What they print is documented in their manual pages; where those are silent, in Apple's sources and headers, which are
named at each reader.
"""

from __future__ import annotations

import os
import re
from typing import Any

from mlx_publish.machine.programs import Program, Run, taken_by_others
from mlx_publish.text.bounds import ANSWER
from mlx_publish.text.json_text import parse

_LEVELS = 3
SYSCTL = (
    "/usr/sbin/sysctl", "machdep.cpu.brand_string", "hw.model", "hw.memsize", "hw.logicalcpu", "hw.nperflevels",
    *(f"hw.perflevel{level}.{key}" for level in range(_LEVELS) for key in ("name", "physicalcpu")),
)  # fmt: skip
SW_VERS = ("/usr/bin/sw_vers",)
# Not SPHardwareDataType, which has nothing that sysctl lacks but the machine's serial number.
DISPLAYS = ("/usr/sbin/system_profiler", "-json", "SPDisplaysDataType")
SETTINGS = ("/usr/bin/pmset", "-g")
BATTERY = ("/usr/bin/pmset", "-g", "batt")
THERMAL = ("/usr/bin/pmset", "-g", "therm")
THERMAL_STATE = (
    "/usr/bin/osascript", "-l", "JavaScript", "-e",
    "ObjC.import('Foundation'); $.NSProcessInfo.processInfo.thermalState",
)  # fmt: skip
# `ucomm` is the name that the kernel keeps for accounting, `comm` a path. One -o each: by POSIX, a header that is given
# takes the rest of its argument.
PS = ("/bin/ps", "-ax", "-o", "pid=", "-o", "ppid=", "-o", "pcpu=", "-o", "ucomm=")

_CORES = {"Super": "super_cores", "Performance": "performance_cores", "Efficiency": "efficiency_cores"}
_SOURCES = {"AC Power": "mains", "Battery Power": "battery"}
_STATES = ("nominal", "fair", "serious", "critical")
_WARNINGS = {"0": "nominal", "5": "serious", "10": "critical", "100": "serious", "110": "critical"}


def describe(run: Run) -> dict[str, Any]:
    """What the Mac is; memory in bytes, None where something cannot be read."""
    version, build = _version(run(SW_VERS))
    known = _keys(run(SYSCTL))
    return {
        "system": f"macOS {version}" if version else "macOS",
        "os_build": build,
        "chip": known.get("machdep.cpu.brand_string"),
        "model": known.get("hw.model"),
        "cores": _number(known.get("hw.logicalcpu")) or os.cpu_count() or 1,
        **_core_kinds(known),
        "gpu_cores": _gpu_cores(run(DISPLAYS)),
        "memory_bytes": _number(known.get("hw.memsize")),
    }


def state(run: Run) -> dict[str, Any]:
    """How the Mac is now; see `mlx_publish.machine.state.state`."""
    low, high = _power_mode(run(SETTINGS))
    therm = run(THERMAL)
    return {
        "power": _power(run(BATTERY)),
        "low_power_mode": low,
        "high_power_mode": high,
        "thermal": _worst(_thermal_state(run(THERMAL_STATE)), _thermal_warning(therm)),
        "cpu_speed_limit": _number(_last(r"CPU_Speed_Limit[ \t]*=[ \t]*(\d+)$", therm)),
        **taken_by_others(programs(run(PS))),
    }


def programs(text: str) -> list[Program]:
    """Read `PS`: a line has the numbers of a process and of its parent, percent of one core, and a name.

    The percentage is an average of the last minute at most (ps(1)); the name has at most 16 bytes, blanks included.
    """
    found = (
        re.fullmatch(r"\s*(\d{1,9})\s+(\d{1,9})\s+(\d{1,9}(?:\.\d+)?)\s+(.*?)\s*", line) for line in text.splitlines()
    )
    return [Program(int(one[1]), int(one[2]), float(one[3]), one[4]) for one in found if one]


def _keys(text: str) -> dict[str, str]:
    """Read `key: value` lines, as sysctl and sw_vers print; a key that sysctl does not know is left out."""
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs if value.strip()}


def _version(text: str) -> tuple[str | None, str | None]:
    """Version and build. A rapid security response has a third line, as `ProductVersionExtra: (a)`; macOS 13."""
    known = _keys(text)
    version = known.get("ProductVersion")
    extra = known.get("ProductVersionExtra")
    return (f"{version} {extra}" if version and extra else version), known.get("BuildVersion")


def _core_kinds(known: dict[str, str]) -> dict[str, int | None]:
    """Count cores of each kind, by the names of the performance levels: they are what macOS calls the kinds.

    An M5 Max has Super and Performance, its predecessors Performance and Efficiency. A virtual machine has one level
    called Standard, which says nothing.
    """
    levels = range(min(_number(known.get("hw.nperflevels")) or 0, _LEVELS + 1))
    found = {known.get(f"hw.perflevel{n}.name", ""): _number(known.get(f"hw.perflevel{n}.physicalcpu")) for n in levels}
    if not found or None in found.values() or not found.keys() <= _CORES.keys():
        return dict.fromkeys(_CORES.values())
    return {key: found.get(name, 0) for name, key in _CORES.items()}


def _gpu_cores(text: str) -> int | None:
    """Cores of the GPU: `sppci_cores`, a string or a number, of the first GPU that has it; a virtual one has not."""
    try:
        cards = parse(text, ANSWER)["SPDisplaysDataType"]
        found = [_number(str(card["sppci_cores"])) for card in cards if "sppci_cores" in card]
    except (ValueError, KeyError, TypeError):
        return None
    return next(iter(found), None)


def _power(text: str) -> str | None:
    """Read `Now drawing from 'AC Power'`; a UPS is neither of ours. The other lines are one a battery."""
    return _SOURCES.get(_last(r"^Now drawing from '([^']*)'", text) or "")


def _power_mode(text: str) -> tuple[bool | None, bool | None]:
    """Whether low and high power mode are on, by the settings in use; None where there is no such setting.

    `lowpowermode` is 0 or 1. A Mac with a high power mode has `powermode` in its place (0 automatic, 1 low, 2 high)
    or, on older systems, `highpowermode` beside it.
    """
    found = dict(re.findall(r"^[ \t]*((?:low|high)?powermode)[ \t]+([012])[ \t]*$", text, re.MULTILINE))
    if not found:
        return None, None
    one = found.get("powermode", found.get("lowpowermode"))
    return (one == "1" if one else None), one == "2" or found.get("highpowermode") == "1"


def _thermal_state(text: str) -> str | None:
    """Read NSProcessInfo.thermalState: 0 nominal, 1 fair, 2 serious, 3 critical (Apple's documentation of Foundation).

    On Apple silicon it is the only source that speaks: nobody has seen pmset record a level there.
    """
    value = _number(text.strip())
    return _STATES[value] if value is not None and value < len(_STATES) else None


def _thermal_warning(text: str) -> str | None:
    """Read the line `Thermal Warning Level = 5` of pmset; xnu's IOPM.h has the values, 255 is unknown.

    "Note: No thermal warning level has been recorded" says that there is no level, not that all is well.
    """
    return _WARNINGS.get(_last(r"Thermal Warning Level[ \t]*=[ \t]*(\d+)$", text) or "")


def _worst(*states: str | None) -> str | None:
    known = [_STATES.index(one) for one in states if one]
    return _STATES[max(known)] if known else None


def _last(pattern: str, text: str) -> str | None:
    found: list[str] = re.findall(pattern, text, re.MULTILINE)
    return found[-1] if found else None


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"[0-9]{1,18}", text) else None
