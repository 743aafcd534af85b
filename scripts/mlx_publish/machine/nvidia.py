"""An NVIDIA GPU, by its driver's own program and by what its kernel module writes into /proc.

nvidia-smi(1) documents the queries. What one of them does not know is `[N/A]` or another word in brackets; an unknown
field fails the whole query. A serial number is not asked for, a UUID compared with CUDA_VISIBLE_DEVICES and not kept.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.machine.programs import Program, Run, descent

_CSV = "--format=csv,noheader,nounits"
LIST = ("nvidia-smi", "-L")
GPUS = ("nvidia-smi", "--query-gpu=index,name,memory.total,driver_version", _CSV)
_COUNTED = ("sw_thermal_slowdown", "hw_thermal_slowdown", "sw_power_cap", "hw_power_brake_slowdown")
# Since driver 535 and, with the counters, some later one; before, events were called throttling.
EVENTS = (
    "nvidia-smi",
    f"--query-gpu=index,clocks_event_reasons.active,{','.join(f'clocks_event_reasons_counters.{c}' for c in _COUNTED)}",
    _CSV,
)
THROTTLING = ("nvidia-smi", "--query-gpu=index,clocks_throttle_reasons.active", _CSV)
PROGRAMS = ("nvidia-smi", "pmon", "-c", "1", "-s", "u")

# Bits of nvmlClocksEventReasons, the worst first.
_SLOWDOWNS = ((0x20 | 0x40, "heat"), (0x08 | 0x80, "hardware"), (0x04, "power cap"))


@dataclass(frozen=True)
class Gpu:
    """The GPU that MLX computes on; None where something is not known, or where GPUs differ and CUDA chooses."""

    name: str | None = None
    memory_bytes: int | None = None
    """None as well where it is the machine's own memory (`unified`)."""
    driver: str | None = None
    unified: bool = False
    index: int | None = None
    """Its number for nvidia-smi."""


@dataclass(frozen=True)
class GpuState:
    """How a GPU is now."""

    slowdown: str | None = None
    """`none`, `heat`, `hardware` (a power brake, or heat on old GPUs) or `power cap`."""
    heat_s: float | None = None
    power_s: float | None = None
    """Seconds for which heat, and a power cap or brake, slowed it down since its driver was loaded."""
    others: float | None = None
    """Percent of its time that other programs take."""


@dataclass(frozen=True)
class _Listed:
    """A line of `nvidia-smi -L` with the slices (MIG) below it, by profile and UUID."""

    uuid: str
    slices: Sequence[tuple[str, str]]


def describe(run: Run, root: Path = Path("/")) -> Gpu | None:
    """Return the first GPU that CUDA may see; None without a driver, or where CUDA_VISIBLE_DEVICES hides all."""
    first = _first_visible()
    if first == "":
        return None
    gpus = _gpus(run(GPUS))
    if not gpus:  # missing, hanging, or it cannot talk to the driver
        return _of_the_kernel(root)
    listed = _listed(run(LIST))
    index, profile = _chosen(first, gpus, listed)
    if index is None:
        return Gpu(driver=next(iter(gpus.values())).driver) if _differ(gpus) else None
    gpu = gpus.get(index)
    return _slice(gpu, profile) if gpu and profile else gpu


def state(run: Run, gpu: Gpu, running: Sequence[Program]) -> GpuState:
    """Return how a GPU is now; `running` are all processes of this machine, by which ours are told from others."""
    if gpu.index is None:
        return GpuState()
    cells = _row(run(EVENTS), gpu.index) or _row(run(THROTTLING), gpu.index)
    active = int(cells[0], 16) if cells and re.fullmatch(r"0x[0-9a-fA-F]{1,16}", cells[0]) else None
    counted = dict(zip(_COUNTED, (_number(cell) for cell in cells[1:]), strict=False))
    slowdown = None
    if active is not None:
        slowdown = next((word for bits, word in _SLOWDOWNS if active & bits), "none")
    return GpuState(
        slowdown,
        _seconds(counted, "thermal"),
        _seconds(counted, "power"),
        _taken_by_others(run(PROGRAMS), gpu.index, running),
    )


def _first_visible() -> str | None:
    """Return the first entry of CUDA_VISIBLE_DEVICES; None if it is unset, empty if it hides all GPUs."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return None
    first = given.split(",")[0].strip()
    return first if re.fullmatch(r"\d{1,4}|(GPU|MIG)-[\w/-]+", first) else ""


def _gpus(text: str) -> dict[int, Gpu]:
    """Return the GPUs by their number. A name may have a comma, the other fields cannot."""
    lines = [re.fullmatch(r"\s*(\d{1,4})\s*,(.*),([^,]*),([^,]*)", line) for line in text.splitlines()]
    return {int(line[1]): _gpu(*(line[at].strip() for at in range(1, 5))) for line in lines if line}


def _gpu(index: str, name: str, mebibytes: str, driver: str) -> Gpu:
    size = _number(mebibytes)
    # GB10, Thor and Orin share the memory of their ARM cores, and say that they have none.
    unified = size is None and mebibytes in ("[N/A]", "[Not Supported]") and platform.machine() in ("aarch64", "arm64")
    known = re.fullmatch(r"\d{3,4}(\.\d+){1,2}", driver)
    return Gpu(
        None if name.startswith("[") or not name else name,
        None if size is None else size << 20,
        driver if known else None,
        unified,
        int(index),
    )


def _listed(text: str) -> dict[int, _Listed]:
    """Read lines as `GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-..)` and `  MIG 1g.5gb  Device  0: (UUID: MIG-..)`."""
    found: dict[int, _Listed] = {}
    for line in text.splitlines():
        if gpu := re.match(r"GPU (\d{1,4}): .*\(UUID: ([\w-]+)\)", line):
            found[index := int(gpu[1])] = _Listed(gpu[2], [])
        elif (part := re.match(r"\s+MIG (\S+)\s+Device\s+\d+: \(UUID: ([\w/-]+)\)", line)) and found:
            found[index] = _Listed(found[index].uuid, [*found[index].slices, (part[1], part[2])])
    return found


def _chosen(first: str | None, gpus: Mapping[int, Gpu], listed: Mapping[int, _Listed]) -> tuple[int | None, str]:
    """Return the GPU's number, and the profile of the slice of it that CUDA takes, if it is cut into some.

    CUDA counts the fastest first, nvidia-smi by the bus. Where GPUs differ, a number alone says nothing, unless
    CUDA_DEVICE_ORDER says by the bus.
    """
    if first and not first.isdigit():
        for index, gpu in listed.items():
            for profile, uuid in gpu.slices:
                if uuid == first:
                    return index, profile
            if gpu.uuid.startswith(first):
                return index, next((profile for profile, _ in gpu.slices), "")
        return None, ""
    if _differ(gpus) and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        return None, ""
    index = int(first) if first else min(gpus)
    slices = listed[index].slices if index in listed else []
    return (index if index in gpus else None), next((profile for profile, _ in slices), "")


def _differ(gpus: Mapping[int, Gpu]) -> bool:
    return len({(gpu.name, gpu.memory_bytes) for gpu in gpus.values()}) > 1


def _slice(gpu: Gpu, profile: str) -> Gpu:
    """Return a slice of a GPU, named as CUDA names it; a profile as 1g.5gb has the memory in gigabytes."""
    size = re.search(r"\.(\d{1,4})gb", profile)
    # nvidia-smi has no state of a slice, so there is no number.
    return Gpu(f"{gpu.name} MIG {profile}" if gpu.name else None, int(size[1]) * 10**9 if size else None, gpu.driver)


def _of_the_kernel(root: Path) -> Gpu | None:
    """Return what the kernel module tells: the driver, and the model where all GPUs are of one.

    Lines as `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 ..` and `Model: \t\t NVIDIA H100`.
    """
    folder = root / "proc/driver/nvidia"
    version = re.search(r"^NVRM version:.*?\s(\d{3,4}\.[\d.]+)\s", _read(folder / "version"), re.MULTILINE)
    if version is None:
        return None
    models = {
        model[1]
        for path in folder.glob("gpus/*/information")
        if (model := re.search(r"^Model:\s*(\S.*?)\s*$", _read(path), re.MULTILINE))
    }
    return Gpu(models.pop() if len(models) == 1 else None, driver=version[1])


def _row(text: str, index: int) -> list[str]:
    """Return the cells of a GPU's line behind its number; empty if there is none, as where a field is unknown."""
    rows = ([cell.strip() for cell in line.split(",")] for line in text.splitlines())
    return next((row[1:] for row in rows if row[0] == str(index)), [])


def _seconds(counted: Mapping[str, int | None], kind: str) -> float | None:
    """Return the sum of counters in microseconds, as seconds."""
    known = [value for name, value in counted.items() if kind in name and value is not None]
    return round(sum(known) / 1e6, 3) if known else None


def _taken_by_others(text: str, index: int, running: Sequence[Program]) -> float | None:
    """Return the percent that the programs in a table of `PROGRAMS` take, but for ours; its first line names columns.

    In a container the numbers are those of the host: where one is of no process here, nothing is known.
    """
    lines = text.splitlines()
    columns = lines[0].lstrip("# ").split() if lines and lines[0].startswith("#") else []
    if not {"gpu", "pid", "sm"} <= {*columns}:
        return None
    ours, here, taken = descent(running), {program.pid for program in running}, 0.0
    for line in lines:
        cells = dict(zip(columns, line.split(), strict=False))
        pid, share = _number(cells.get("pid", "")), _number(cells.get("sm", ""))
        if cells.get("gpu") != str(index) or pid is None or not share:
            continue
        if pid not in here:
            return None
        taken += 0 if pid in ours else share
    return taken


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(text: str) -> int | None:
    """Return a number, with or without its unit."""
    found = re.fullmatch(r"(\d{1,18})(?: (?:MiB|us|%))?", text)
    return int(found[1]) if found else None
