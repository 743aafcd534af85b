"""Every state of a machine that ends the way, and the command that mends it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.checks.base import run_checks
from mlx_publish.children.other_python import Python
from mlx_publish.children.torch import NOT_INSTALLED, Torch
from mlx_publish.children.vision import NOT_INSTALLED as NO_VISION
from mlx_publish.doctor.checks import MACHINE, summary
from mlx_publish.doctor.facts import Facts, is_offline
from mlx_publish.doctor.remedies import Remedies
from mlx_publish.evidence.speed import Device
from mlx_publish.hub.identity import Token
from mlx_publish.machine.apple import Mac
from mlx_publish.machine.linux import LinuxMachine
from mlx_publish.machine.nvidia import Gpu
from mlx_publish.machine.snapshot import State

M4 = Mac("macOS 26.1", None, "Apple M4", None, 10, None, None, None, None, None, arch="arm64", python="3.13.1")
MAC = Facts(
    system="Darwin",
    arch="arm64",
    translated=False,
    python=(3, 13, 1),
    executable="/opt/homebrew/bin/python3.13",
    machine=M4,
    state=State(power="mains", thermal="nominal"),
    versions={"mlx-publish": "0.1.0", "mlx": "0.32.4", "mlx-lm": "0.32.2"},
    torch=Torch(Path("/python"), {"torch": "2.13.0", "transformers": "5.24.0"}),
    vision=Python(Path("/vision"), {"mlx-vlm": "0.7.10"}),
    device=Device("gpu", "Apple M4", metal=True, deviation=4e-4),
    blas=False,
    memory_bytes=16 << 30,
    disk_bytes={"work": 200 * 10**9},
    open_files=-1,
    programs={"git": "/usr/bin/git", "gh": "/opt/homebrew/bin/gh"},
    hub="",
    token=Token("write", publishes=True),
    remedies=Remedies("Darwin", ""),
)
LINUX: dict[str, Any] = {
    "system": "Linux",
    "arch": "x86_64",
    "machine": LinuxMachine("Linux", "AMD EPYC", 8, None, arch="x86_64", python="3.13.1"),
    "blas": True,
    "executable": "/usr/bin/python3.13",
    "device": Device("cpu", "", metal=False, deviation=0.0),
    "remedies": Remedies("Linux", "apt-get"),
}
FEDORA = {**LINUX, "remedies": Remedies("Linux", "dnf")}
H100 = Gpu("NVIDIA H100 80GB HBM3", 81559 << 20, "580.65.06", index=0)
CUDA, CPU = {"mlx-cuda-13": "0.32.4"}, {"mlx-cpu": "0.32.4"}
NVIDIA: dict[str, Any] = {
    **LINUX,
    "device": Device("gpu", H100.name or "", metal=False, deviation=4e-4, backend="cuda", memory_bytes=80 << 30),
    "gpu": H100,
    "builds": CUDA,
}
UNUSED: dict[str, Any] = {**LINUX, "gpu": H100, "builds": CPU}
OLD = replace(H100, driver="550.54.14")
NO_DRIVER = "MLX is installed for CUDA, and this machine has no NVIDIA driver"
NO_TORCH = Torch(Path("/python"), reason=NOT_INSTALLED)
WRONG: list[tuple[str, str, dict[str, Any], str]] = [
    ("python", "fail", {"translated": True, "arch": "x86_64"}, "brew install python@3.13"),
    ("python", "warn", {"python": (3, 10, 4)}, "brew install python@3.13"),
    ("python", "warn", {**LINUX, "python": (3, 10, 4)}, "apt-get install python3.12 python3.12-venv"),
    ("python", "warn", {**FEDORA, "python": (3, 10, 4)}, "dnf install python3.12"),
    ("chip", "fail", {"arch": "x86_64", "machine": replace(M4, chip="Intel Core i7")}, "M-series chip"),
    ("packages", "fail", {"versions": {"mlx-publish": "0.1.0"}}, "pip install '"),
    ("reference", "warn", {"torch": NO_TORCH}, "pip install torch 'transformers>=5'"),
    ("reference", "warn", {**LINUX, "torch": NO_TORCH}, "sh scripts/bootstrap.sh -s reference"),
    ("reference", "warn", {**LINUX, "torch": NO_TORCH, "checkout": "../kit/"}, "sh ../kit/scripts/bootstrap.sh -s"),
    ("reference", "warn", {**LINUX, "torch": NO_TORCH, "checkout": None}, "--extra-index-url https://download.pytorch"),
    ("vision", "warn", {"vision": "mlx-vlm 0.8 is not known to this kit"}, "sh scripts/bootstrap.sh -s vision"),
    ("vision", "warn", {"vision": "MLX_PUBLISH_VISION_PYTHON is no Python", "checkout": None}, "MLX_PUBLISH_VISION_"),
    ("device", "fail", {"device": "libmlx.dylib: not found"}, "import mlx.core"),
    ("device", "fail", {"device": Device("cpu", "", metal=False, deviation=0.0)}, "Mac itself"),
    ("device", "fail", {"device": Device("gpu", "x", metal=True, deviation=0.02)}, "Restart the Mac"),
    ("device", "fail", {"device": Device("gpu", "x", metal=True, deviation=float("nan"))}, "Restart the Mac"),
    ("device", "fail", {**LINUX, "device": Device("gpu", "x", metal=False, deviation=0.02)}, "update the GPU's driver"),
    (
        "device",
        "fail",
        {**NVIDIA, "device": NO_DRIVER, "device_remedy": "Install the NVIDIA driver"},
        "Install the NVIDIA",
    ),
    (
        "cuda",
        "warn",
        UNUSED,
        "MLX_PUBLISH_BACKEND=cuda sh scripts/bootstrap.sh -s doctor; in your own environment: pip un",
    ),
    ("cuda", "warn", {**UNUSED, "checkout": None}, "To use it: pip uninstall --yes mlx-cpu; then pip install '"),
    ("cuda", "warn", {**UNUSED, "gpu": OLD}, "nvidia.com/drivers"),
    ("cuda", "fail", {**NVIDIA, "gpu": OLD}, "sudo ubuntu-drivers install"),
    ("cuda", "fail", {**NVIDIA, "gpu": OLD, "remedies": Remedies("Linux", "dnf")}, "nvidia.com/drivers"),
    (
        "cuda",
        "fail",
        {**NVIDIA, "builds": CPU | CUDA},
        "pip uninstall --yes mlx-cpu mlx-cuda-13; then for the GPU: pip install '",
    ),
    ("memory", "warn", {**NVIDIA, "gpu": replace(H100, memory_bytes=4 << 30)}, "GPU with more memory"),
    ("quiet", "warn", {**NVIDIA, "state": State(gpu_slowdown="heat")}, "Let it cool down"),
    ("quiet", "warn", {**NVIDIA, "state": State(gpu_others=40.0)}, "End other programs on the GPU"),
    ("fast-blas", "warn", {**LINUX, "blas": False}, "apt-get install libopenblas0-pthread"),
    ("fast-blas", "warn", {**FEDORA, "blas": False}, "dnf install openblas"),
    ("fast-blas", "warn", {**LINUX, "blas": False, "remedies": Remedies("Linux", "")}, "package manager"),
    ("memory", "warn", {"memory_bytes": 4 << 30}, "more memory"),
    ("disk", "warn", {"disk_bytes": {"work": 10**9, "cache": 10**12}}, "hf cache prune"),
    ("open-files", "fail", {"open_files": 256}, "launchctl limit maxfiles"),
    ("open-files", "fail", {**LINUX, "open_files": 256}, "LimitNOFILE"),
    ("quiet", "warn", {"state": State(low_power_mode=True)}, "pmset -a lowpowermode 0"),
    ("quiet", "warn", {**LINUX, "state": State(low_power_mode=True)}, "powerprofilesctl set balanced"),
    ("quiet", "warn", {"state": State(power="battery")}, "Plug it in"),
    ("quiet", "warn", {"state": State(other_cores=2.0)}, "Close other programs before you measure"),
    ("programs", "warn", {"programs": {"git": "/usr/bin/git", "gh": None}}, "brew install gh"),
    ("programs", "warn", {**LINUX, "programs": {"git": None, "gh": None}}, "apt-get install git gh"),
    ("programs", "warn", {**FEDORA, "programs": {"git": None, "gh": None}}, "dnf install git gh"),
    ("hub", "fail", {"hub": "the Hub answered 500"}, "unset HF_ENDPOINT"),
    ("hub", "warn", {"hub": "no answer from https://huggingface.co", "offline": True}, "HTTPS_PROXY"),
    ("token", "warn", {"token": Token("read", publishes=False)}, "settings/tokens"),
]


def judged(**changes: Any) -> dict[str, Any]:
    return {finding.id: finding for finding in run_checks(MACHINE, replace(MAC, **changes))}


def test_a_good_mac_is_fit() -> None:
    found = judged()
    assert {name: one.status for name, one in found.items() if one.status != "pass"} == {
        "fast-blas": "skip",
        "cuda": "skip",
    }
    assert found["reference"].message == "torch 2.13.0, transformers 5.24.0 at /python"
    assert found["device"].message == "Apple M4 computes what the CPU does, within 4.0e-04"


@pytest.mark.parametrize(("check", "status", "changes", "mends"), WRONG)
def test_each_finding_that_is_not_fine_names_what_fixes_it(
    check: str, status: str, changes: dict[str, Any], mends: str
) -> None:
    found = judged(**changes)[check]
    assert found.status == status
    assert mends in found.remedy


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"token": None}, "skip"),
        ({"token": Token("trusted publisher of a/b", publishes=True)}, "pass"),
    ],
)
def test_a_token_is_not_needed_and_may_be_a_trusted_publishers(changes: dict[str, Any], status: str) -> None:
    assert judged(**changes)["token"].status == status


def test_every_check_can_fail_or_warn() -> None:
    assert {name for name, *_ in WRONG} == {check.id for check in MACHINE}


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "fit"),
        (LINUX, "fit, speeds will be those of a CPU"),
        (NVIDIA, "fit, speeds will be those of NVIDIA H100 80GB HBM3 (CUDA)"),
        (UNUSED, "fit, speeds will be those of a CPU"),
        ({**LINUX, "offline": True}, "fit, speeds will be those of a CPU; offline, for local folders only"),
        ({"offline": True}, "fit; offline, for local folders only"),
        ({"open_files": 256}, "not fit: 1 problem"),
        ({"open_files": 256, "versions": {}}, "not fit: 2 problems"),
    ],
)
def test_the_verdict_says_what_the_machine_is_fit_for(changes: dict[str, Any], verdict: str) -> None:
    failures = [finding for finding in judged(**changes).values() if finding.status == "fail"]
    assert summary(replace(MAC, **changes), len(failures)) == verdict


def test_a_good_cuda_machine_is_fit() -> None:
    found = judged(**NVIDIA)
    assert {name: one.status for name, one in found.items() if one.status != "pass"} == {}
    assert found["device"].message == "NVIDIA H100 80GB HBM3 computes what the CPU does, within 4.0e-04"
    assert found["cuda"].message == "NVIDIA H100 80GB HBM3: 80 GiB, driver 580.65.06, mlx-cuda-13 0.32.4"
    assert found["memory"].message.endswith(", and 80 GiB on the GPU")


def test_cuda_12_does_with_an_older_driver() -> None:
    found = judged(**{**NVIDIA, "gpu": OLD, "builds": {"mlx-cuda-12": "0.32.4"}})["cuda"]
    assert (found.status, found.message.endswith("driver 550.54.14, mlx-cuda-12 0.32.4")) == ("pass", True)


def test_what_is_wrong_with_a_gpu_is_said_once() -> None:
    found = judged(**{**NVIDIA, "gpu": None, "device": NO_DRIVER, "device_remedy": "Install the NVIDIA driver"})
    assert (found["device"].status, found["cuda"].status) == ("fail", "skip")
    assert found["device"].message == f"MLX does not compute: {NO_DRIVER}"


def test_a_machine_without_an_nvidia_gpu_hears_nothing_of_cuda() -> None:
    assert judged(**{**LINUX, "builds": CPU})["cuda"].message == "no NVIDIA GPU"


@pytest.mark.parametrize("machine", [LINUX, FEDORA, NVIDIA])
def test_linux_is_told_no_word_of_a_mac(machine: dict[str, Any]) -> None:
    wrong = {
        "python": (3, 10, 4), "versions": {}, "torch": NO_TORCH, "blas": False, "memory_bytes": 1, "hub": "x",
        "disk_bytes": {"work": 1}, "open_files": 256, "state": State(low_power_mode=True, power="battery"),
        "programs": {"git": None, "gh": None}, "token": None,
    }  # fmt: skip
    computing = Device("gpu", "NVIDIA H100", metal=False, deviation=0.5)
    for device in (machine["device"], computing, "libmlx.so: not found"):
        for finding in judged(**{**machine, **wrong, "device": device}).values():
            text = f"{finding.message} {finding.remedy}"
            for word in ("Mac", "brew", "launchctl", "pmset", "Metal", "Rosetta", "Apple"):
                assert word not in text, text


def test_only_the_hub_itself_may_be_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert is_offline("the Hub: no answer from https://huggingface.co: Name or service not known")
    assert not is_offline("the Hub: the Hub answered 500: broken")
    assert not is_offline("")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert not is_offline("the Hub: no answer from http://127.0.0.1:9: refused")


def test_without_mlx_vlm_nothing_is_wrong_and_the_session_that_installs_it_is_named() -> None:
    found = judged(vision=NO_VISION)["vision"]
    assert found.status == "skip"
    assert found.message == (
        "no mlx-vlm, which only models that see or hear and recipes with mtp need: the first run through bootstrap.sh "
        "that needs it installs it, or: sh scripts/bootstrap.sh -s vision"
    )
    installed = judged(vision=NO_VISION, checkout=None)["vision"]
    assert "pip install" in installed.message
    assert "[mlx,vision]" in installed.message
