"""An NVIDIA GPU, by what nvidia-smi of several drivers prints, and by what the kernel module writes into /proc."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import NoReturn

import pytest

from mlx_publish.evidence.records import to_json
from mlx_publish.machine import describe, described, linux, nvidia, packages, programs, resources
from mlx_publish.machine import state as room
from mlx_publish.machine.nvidia import Gpu, GpuState
from mlx_publish.machine.programs import Program, Run
from mlx_publish.machine.snapshot import State
from mlx_publish.machine.state import Disturbances, disturbances
from mlx_publish.source import bounds

Recorded = Callable[[str], Run]
H100 = Gpu("NVIDIA H100 80GB HBM3", 81559 << 20, "580.65.06", index=0)
OWN = 700
RUNNING = [
    Program(1, 0, 0.0, "init"),
    Program(500, 1, 0.0, "runner"),
    Program(OWN, 500, 0.0, "python"),
    Program(701, OWN, 0.0, "child"),
    Program(503, 500, 0.0, "neighbour"),
    Program(900, 1, 0.0, "Xorg"),
    Program(1312, 1, 0.0, "gnome-shell"),
]


@pytest.fixture
def recorded(mac: Recorded, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Make the `run` of a recorded machine, with all of its GPUs visible."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    return mac


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Linux on which MLX is installed for CUDA."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(linux, "_PAUSE", 0.01)
    monkeypatch.setattr(packages, "version", lambda name: {"mlx": "0.32.4", "mlx-cuda-13": "0.32.4"}[name])
    monkeypatch.setattr(packages, "PackageNotFoundError", KeyError)


SEEN = [
    ("nvidia-h100", None, H100),
    ("nvidia-h100", "0", H100),
    ("nvidia-h100", "0,1", H100),
    ("nvidia-h100", "GPU-886520a3", H100),
    ("nvidia-h100", "1", None),
    ("nvidia-h100", "GPU-deadbeef", None),
    ("nvidia-h100", "", None),
    ("nvidia-h100", "-1", None),
    ("nvidia-h100", "NoDevFiles", None),
    ("nvidia-a100-mig", None, Gpu("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 5 * 10**9, "550.54.14")),
    ("nvidia-a100-mig", "1", Gpu("NVIDIA A100-SXM4-40GB", 40960 << 20, "550.54.14", index=1)),
    ("nvidia-a100-mig", "GPU-1e853ba0", Gpu("NVIDIA A100-SXM4-40GB", 40960 << 20, "550.54.14", index=1)),
    (
        "nvidia-a100-mig",
        "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb",
        Gpu("NVIDIA A100-SXM4-40GB MIG 3g.20gb", 20 * 10**9, "550.54.14"),
    ),
    ("nvidia-old", None, Gpu("Tesla V100-SXM2-16GB", 16160 << 20, "470.63.01", index=0)),
    ("nvidia-lost", None, Gpu(index=0)),
    ("nvidia-no-driver", None, None),
    ("nvidia-mismatch", None, None),
    ("garbage", None, None),
]


@pytest.mark.parametrize(("name", "visible", "expected"), SEEN)
def test_the_first_gpu_that_cuda_sees_is_described(
    recorded: Recorded,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    visible: str | None,
    expected: Gpu | None,
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert nvidia.describe(recorded(name), tmp_path) == expected


GT, RTX = "NVIDIA GeForce GT 1030", "NVIDIA GeForce RTX 5090"
KINDS = [
    ({}, None),
    ({"CUDA_VISIBLE_DEVICES": "1"}, None),
    ({"CUDA_VISIBLE_DEVICES": "GPU-7a4d2e3f"}, RTX),
    ({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, GT),
    ({"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"}, RTX),
]


@pytest.mark.parametrize(("variables", "name"), KINDS)
def test_of_gpus_that_differ_none_is_named_unless_it_is_certain(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], name: str | None
) -> None:
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    found = nvidia.describe(recorded("nvidia-two-kinds"))
    assert found is not None
    assert (found.name, found.driver) == (name, "580.65.06")


@pytest.mark.parametrize(("arch", "unified"), [("aarch64", True), ("x86_64", False)])
def test_a_gpu_without_memory_of_its_own_shares_that_of_its_arm_cores(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, arch: str, unified: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: arch)
    assert nvidia.describe(recorded("nvidia-gb10")) == Gpu("NVIDIA GB10", None, "580.126.09", unified, 0)
    bare = linux.LinuxMachine("Linux", "ARM", 20, 128 << 30, arch=arch, python="3.13.1")
    found = linux.with_gpu(bare, recorded("nvidia-gb10"))
    assert found == replace(
        bare, gpu="NVIDIA GB10", gpu_memory_bytes=128 << 30 if unified else None, gpu_driver="580.126.09"
    )


PROPRIETARY = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\nGCC version:\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder)\n"
KERNEL = [
    (PROPRIETARY, ["NVIDIA H100 80GB HBM3"], Gpu("NVIDIA H100 80GB HBM3", driver="550.54.14")),
    (OPEN, ["NVIDIA H100 80GB HBM3"] * 2, Gpu("NVIDIA H100 80GB HBM3", driver="580.65.06")),
    (OPEN, [GT, RTX], Gpu(driver="580.65.06")),
    (OPEN, [], Gpu(driver="580.65.06")),
    ("NVRM version: unknown\n", [GT], None),
    (None, [], None),
]


@pytest.mark.parametrize(("version", "models", "expected"), KERNEL)
@pytest.mark.parametrize("name", ["nvidia-no-driver", "nvidia-mismatch", "garbage"])
def test_where_nvidia_smi_is_missing_hangs_or_fails_the_kernel_module_tells(
    recorded: Recorded, tmp_path: Path, version: str | None, models: list[str], expected: Gpu | None, name: str
) -> None:
    folder = tmp_path / "proc/driver/nvidia"
    for number, model in enumerate(models):
        (gpu := folder / f"gpus/0000:{number:02x}:00.0").mkdir(parents=True)
        (gpu / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 101\nGPU UUID: \t GPU-x\n")
    if version is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "version").write_text(version)
    asked: list[object] = []

    def run(command: object) -> str:
        asked.append(command)
        return recorded(name)(command)  # type: ignore[arg-type]

    assert nvidia.describe(run, tmp_path) == expected
    assert asked == [nvidia.GPUS]  # what hangs once is not asked again


STATES = [
    ("nvidia-h100", 0, GpuState("none", 0.0, 2.31, 0.0)),
    ("nvidia-h100-busy", 0, GpuState("heat", 12.5, 42.56, 37.0)),
    ("nvidia-a100-mig", 1, GpuState("none", 0.0, 0.0, None)),
    ("nvidia-a100-mig", None, GpuState()),
    ("nvidia-gb10", 0, GpuState("none", None, None, 24.0)),
    ("nvidia-two-kinds", 0, GpuState()),
    ("nvidia-two-kinds", 1, GpuState("hardware", 0.0, 0.0, None)),
    ("nvidia-old", 0, GpuState("heat", None, None, None)),  # process 4242 is of the host, not of this container
    ("nvidia-lost", 0, GpuState()),
    ("nvidia-no-driver", 0, GpuState()),
]


@pytest.mark.parametrize(("name", "index", "expected"), STATES)
def test_how_a_gpu_is_while_it_measures(recorded: Recorded, name: str, index: int | None, expected: GpuState) -> None:
    found = nvidia.state(recorded(name), replace(H100, index=index), RUNNING)
    power = None if found.power_s is None else round(found.power_s, 2)
    assert replace(found, power_s=power) == expected


@pytest.mark.usefixtures("cuda")
def test_a_linux_on_which_mlx_computes_by_cuda_is_described_with_its_gpu(recorded: Recorded) -> None:
    found = to_json(describe(recorded("nvidia-h100")))
    assert (found["gpu"], found["gpu_memory_bytes"], found["gpu_driver"]) == (H100.name, H100.memory_bytes, H100.driver)
    assert "GPU-" not in str(found)


@pytest.mark.usefixtures("cuda")
def test_reports_have_the_gpu_and_its_state(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    run = recorded("nvidia-h100")
    monkeypatch.setattr(described, "_described", lambda: describe(run))
    assert described.machine()["gpu"] == H100.name
    now = to_json(room.state(run))
    assert {key: now[key] for key in now if key.startswith("gpu")} == {
        "gpu_slowdown": "none", "gpu_heat_s": 0.0, "gpu_power_s": 2.31, "gpu_others": 0.0,
    }  # fmt: skip


def test_reports_of_a_machine_that_computes_on_its_cpu_have_no_word_of_a_gpu(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(linux, "_PAUSE", 0.01)
    run = recorded("nvidia-h100")
    monkeypatch.setattr(described, "_described", lambda: describe(run))
    found = [*described.machine(), *to_json(room.state(run))]
    assert [key for key in found if key.startswith("gpu") and key != "gpu_cores"] == []


HEAT, POWER = {"gpu_heat_s": 3.0}, {"gpu_power_s": 100.0}
DISTURBED = [
    ({"gpu_slowdown": "heat"}, {}, Disturbances(("The GPU slowed down from heat before the measurement.",))),
    (
        HEAT,
        {"gpu_slowdown": "heat", "gpu_heat_s": 45.2},
        Disturbances(("Heat slowed the GPU down for 42 s during the measurement.",)),
    ),
    (HEAT, HEAT, Disturbances()),
    ({}, HEAT, Disturbances()),
    (
        POWER,
        {"gpu_power_s": 103.0},
        Disturbances(remarks=("The GPU's power limit slowed it down for 3 s during the measurement.",)),
    ),
    ({"gpu_slowdown": "hardware"}, {"gpu_slowdown": "power cap"}, Disturbances()),
    (
        {"gpu_others": 4.0},
        {"gpu_others": 37.0},
        Disturbances(remarks=("Other programs took 37 % of the GPU after the measurement.",)),
    ),
]


@pytest.mark.parametrize(("before", "after", "expected"), DISTURBED)
def test_heat_refuses_a_speed_and_others_are_a_remark(
    before: dict[str, object], after: dict[str, object], expected: Disturbances
) -> None:
    assert disturbances(State(**before), State(**after)) == expected  # type: ignore[arg-type]


COMPUTES = [
    ("Darwin", {}, "metal"),
    ("Darwin", {"mlx-cuda-13": "0.32.4"}, "metal"),
    ("Linux", {"mlx": "0.32.4", "mlx-cpu": "0.32.4"}, "cpu"),
    ("Linux", {"mlx": "0.32.4", "mlx-cuda-13": "0.32.4"}, "cuda"),
    ("Linux", {"mlx": "0.32.4", "mlx-cuda-12": "0.32.4"}, "cuda"),
    ("Linux", {}, "cpu"),
]


@pytest.mark.parametrize(("system", "installed", "expected"), COMPUTES)
def test_what_mlx_computes_by_is_told_by_what_is_installed(
    monkeypatch: pytest.MonkeyPatch, system: str, installed: dict[str, str], expected: str
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(packages, "version", installed.__getitem__)
    monkeypatch.setattr(packages, "PackageNotFoundError", KeyError)
    assert packages.computes_by() == expected


@pytest.mark.parametrize(("by", "count"), [("metal", 1), ("cuda", 1), ("cpu", 3)])
def test_a_gpu_does_one_job_at_a_time(monkeypatch: pytest.MonkeyPatch, by: str, count: int) -> None:
    monkeypatch.setattr(resources, "computes_by", lambda: by)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert resources.side_by_side(3, 1) == count


GIB = 1 << 30
WEIGHTS = [
    ("cpu", 128 * GIB, 80 * GIB, 64 * GIB),
    ("metal", 128 * GIB, None, 64 * GIB),
    ("cuda", 512 * GIB, 80 * GIB, 60 * GIB),
    ("cuda", 32 * GIB, 80 * GIB, 16 * GIB),
    ("cuda", 128 * GIB, None, 64 * GIB),
]


@pytest.mark.parametrize(("by", "memory", "own", "expected"), WEIGHTS)
def test_weights_must_fit_the_memory_in_which_they_lie(
    monkeypatch: pytest.MonkeyPatch, by: str, memory: int, own: int | None, expected: int
) -> None:
    monkeypatch.setattr(resources, "computes_by", lambda: by)
    monkeypatch.setattr(resources, "memory_bytes", lambda: memory)
    monkeypatch.setattr(nvidia, "describe", lambda _run: Gpu(memory_bytes=own))
    resources._gpu_memory.cache_clear()
    assert resources.most_weights() == expected
    resources._gpu_memory.cache_clear()


@pytest.mark.parametrize(("by", "fits"), [("metal", True), ("cuda", True), ("cpu", False)])
def test_a_source_is_read_in_its_own_type_on_a_gpu_and_in_float32_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch, by: str, fits: bool
) -> None:
    monkeypatch.setattr(bounds, "computes_by", lambda: by)
    monkeypatch.setattr(bounds, "most_weights", lambda: 30 * 10**9)
    monkeypatch.setattr(bounds, "parameters", lambda _context: 10**10)
    assert bounds.memory_fits(None) is fits  # type: ignore[arg-type]


def test_a_program_that_cannot_even_be_ended_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = Event()

    def hang(*_: object, **__: object) -> NoReturn:
        ended.wait(30)
        raise OSError

    monkeypatch.setattr(programs, "TIMEOUT", 0.1)
    monkeypatch.setattr(programs, "_GRACE", 0.1)
    monkeypatch.setattr(programs, "ask", hang)
    assert programs.run_program(nvidia.GPUS) == ""
    ended.set()
