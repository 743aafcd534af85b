"""What doctor looks at. It changes nothing, and sends nothing but one request to the Hub."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_publish.children.environment import fast_blas
from mlx_publish.children.jobs import Bounds, Job, run_job
from mlx_publish.children.other_python import Python
from mlx_publish.children.torch import Torch, find_torch
from mlx_publish.children.vision import NoVision, find_vision
from mlx_publish.doctor.remedies import INSTALLERS, Remedies
from mlx_publish.errors import PublishError, SurroundingsError
from mlx_publish.evidence.records import from_json
from mlx_publish.evidence.speed import Device
from mlx_publish.machine import Machine, describe, nvidia
from mlx_publish.machine.nvidia import Gpu
from mlx_publish.machine.packages import CUDA_PACKAGES, versions
from mlx_publish.machine.programs import run_program
from mlx_publish.machine.resources import memory_bytes
from mlx_publish.machine.snapshot import State
from mlx_publish.machine.state import state

if TYPE_CHECKING:
    from mlx_publish.hub.identity import Token

PROGRAMS = ("git", "gh")
NO_ANSWER = "no answer from"
"""In the words of `hub.client` for a connection that cannot be made."""


@dataclass(frozen=True)
class Facts:
    """The machine, its software and its surroundings; None where something is not known."""

    system: str
    """`Darwin` or `Linux`."""
    arch: str
    translated: bool
    """Whether an Intel program runs on Apple silicon."""
    python: tuple[int, int, int]
    executable: str
    machine: Machine
    state: State
    versions: Mapping[str, str]
    torch: Torch
    """The Python in which an architecture is proven."""
    vision: Python | str
    """The Python in which models that see or hear are converted and drafters proven, or why there is none."""
    device: Device | str
    """The device that MLX computes on, or why it computes on none."""
    blas: bool
    memory_bytes: int
    disk_bytes: Mapping[str, int]
    """Free bytes by folder."""
    open_files: int
    """How many a program may open after it asked for more."""
    programs: Mapping[str, str | None]
    hub: str
    """Empty if it answers, else why not."""
    token: Token | None
    """None if there is none."""
    offline: bool = False
    """Whether no connection to the Hub itself can be made."""
    remedies: Remedies = field(default_factory=Remedies)
    device_remedy: str = ""
    """What to do where MLX computes on no device; empty where it does not say."""
    gpu: Gpu | None = None
    """An NVIDIA GPU that its driver tells of, whether MLX computes on it or not."""
    builds: Mapping[str, str] = field(default_factory=dict)
    """Builds of MLX for Linux that are installed, with their versions."""
    checkout: str | None = ""
    """The path of the kit's checkout from here, with a slash at the end; empty in it, None where there is none."""


def _vision() -> Python | str:
    try:
        return find_vision()
    except NoVision as error:
        return str(error)


def gather(work: Path, logs: Path) -> Facts:
    """Look at this machine; `work` is where work would lie, `logs` a folder for what the child prints."""
    from mlx_publish.hub.identity import greeting, token_at_hand  # noqa: PLC0415  the Hub's client takes its time

    hub = greeting()
    device, device_remedy = _device(logs)
    return Facts(
        system=platform.system(),
        arch=platform.machine(),
        translated=_translated(),
        python=sys.version_info[:3],
        executable=sys.executable,
        machine=describe(),
        state=state(),
        versions=versions(),
        torch=find_torch(),
        vision=_vision(),
        device=device,
        blas=fast_blas() is not None,
        memory_bytes=memory_bytes(),
        disk_bytes=_free({work, _cache()}),
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        programs={name: shutil.which(name) for name in PROGRAMS},
        hub=hub,
        token=None if is_offline(hub) else token_at_hand(),
        offline=is_offline(hub),
        remedies=Remedies(platform.system(), next((name for name in INSTALLERS if shutil.which(name)), "")),
        device_remedy=device_remedy,
        gpu=nvidia.describe(run_program) if platform.system() == "Linux" else None,
        builds=versions("mlx-cpu", *CUDA_PACKAGES),
        checkout=_checkout(),
    )


def is_offline(hub: str) -> bool:
    """Return whether no connection can be made to the Hub itself; another address in HF_ENDPOINT has to answer."""
    return NO_ANSWER in hub and not os.environ.get("HF_ENDPOINT")


def _checkout() -> str | None:
    root = Path(__file__).resolve().parents[3]
    if not (root / "scripts" / "bootstrap.sh").is_file():
        return None
    here = os.path.relpath(root)
    return "" if here == "." else f"{here}/"


def _translated() -> bool:
    """Return whether Rosetta runs this: it says so by a key of sysctl, which Intel Macs do not have."""
    if platform.system() != "Darwin":
        return False
    return (run_program(("sysctl", "-n", "sysctl.proc_translated")) or "").strip() == "1"


def _device(logs: Path) -> tuple[Device | str, str]:
    """Return the device, or why MLX computes on none, and what to do about that.

    CUDA compiles for 10 to 20 s, and its libraries are gigabytes, which a cold disk reads for a minute.
    """
    job = Job("device", {}, logs / "device.log", Bounds(300))
    try:
        return from_json(Device, run_job(job, lambda _: None)), ""
    except SurroundingsError as error:
        return str(error), error.remedy
    except PublishError as error:
        return str(error), ""


def _cache() -> Path:
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "huggingface"
    return Path(os.environ.get("HF_HOME", default)).expanduser()


def _free(folders: set[Path]) -> dict[str, int]:
    """Return the free bytes by folder, asked of the nearest folder that exists."""
    free = {}
    for folder in sorted(folders):
        there = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())
        free[str(folder)] = shutil.disk_usage(there).free
    return free
