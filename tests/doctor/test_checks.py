"""Every state of a machine that ends the way, and the command that mends it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.checks.base import run_checks
from mlx_publish.children.torch import NOT_INSTALLED, Torch
from mlx_publish.doctor.checks import MACHINE
from mlx_publish.doctor.facts import Facts
from mlx_publish.evidence.speed import Device
from mlx_publish.hub.identity import Token
from mlx_publish.machine.apple import Mac
from mlx_publish.machine.linux import LinuxMachine
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
    device=Device("gpu", "Apple M4", metal=True, deviation=4e-4),
    blas=False,
    memory_bytes=16 << 30,
    disk_bytes={"work": 200 * 10**9},
    open_files=-1,
    programs={"git": "/usr/bin/git", "gh": "/opt/homebrew/bin/gh"},
    hub="",
    token=Token("write", publishes=True),
)
LINUX: dict[str, Any] = {
    "system": "Linux",
    "arch": "x86_64",
    "machine": LinuxMachine("Linux", "AMD EPYC", 8, None, arch="x86_64", python="3.13.1"),
    "blas": True,
}
NO_TORCH = Torch(Path("/python"), reason=NOT_INSTALLED)
WRONG: list[tuple[str, str, dict[str, Any], str]] = [
    ("python", "fail", {"translated": True, "arch": "x86_64"}, "brew install python@3.13"),
    ("python", "warn", {"python": (3, 10, 4)}, "brew install"),
    ("chip", "fail", {"arch": "x86_64", "machine": replace(M4, chip="Intel Core i7")}, "M chip"),
    ("chip", "warn", LINUX, "from a Mac"),
    ("packages", "fail", {"versions": {"mlx-publish": "0.1.0"}}, "pip install 'mlx-publish[mlx]'"),
    ("reference", "warn", {"torch": NO_TORCH}, "pip install torch 'transformers>=5'"),
    ("reference", "warn", {**LINUX, "torch": NO_TORCH}, "sh scripts/bootstrap.sh -s reference"),
    ("device", "fail", {"device": "libmlx.dylib: not found"}, "import mlx.core"),
    ("device", "fail", {"device": Device("cpu", "", metal=False, deviation=0.0)}, "Mac itself"),
    ("device", "fail", {"device": Device("gpu", "x", metal=True, deviation=0.02)}, "Restart"),
    ("device", "fail", {"device": Device("gpu", "x", metal=True, deviation=float("nan"))}, "Restart"),
    ("fast-blas", "warn", {**LINUX, "blas": False}, "apt-get install libopenblas0-pthread"),
    ("memory", "warn", {"memory_bytes": 4 << 30}, "larger Mac"),
    ("disk", "warn", {"disk_bytes": {"work": 10**9, "cache": 10**12}}, "hf cache prune"),
    ("open-files", "fail", {"open_files": 256}, "launchctl limit maxfiles"),
    ("quiet", "warn", {"state": State(low_power_mode=True)}, "pmset -a lowpowermode 0"),
    ("quiet", "warn", {"state": State(power="battery")}, "Plug it in"),
    ("programs", "warn", {"programs": {"git": "/usr/bin/git", "gh": None}}, "brew install gh"),
    ("programs", "warn", {**LINUX, "programs": {"git": None, "gh": None}}, "apt-get install git gh"),
    ("hub", "fail", {"hub": "no answer"}, "HTTPS_PROXY"),
    ("token", "warn", {"token": Token("read", publishes=False)}, "settings/tokens"),
]


def judged(**changes: Any) -> dict[str, Any]:
    return {finding.id: finding for finding in run_checks(MACHINE, replace(MAC, **changes))}


def test_a_good_mac_is_fit() -> None:
    found = judged()
    assert {name: one.status for name, one in found.items() if one.status != "pass"} == {"fast-blas": "skip"}
    assert found["reference"].message == "torch 2.13.0, transformers 5.24.0 at /python"
    assert found["device"].message == "Apple M4 computes what the CPU does, up to 4.0e-04"


@pytest.mark.parametrize(("check", "status", "changes", "mends"), WRONG)
def test_what_is_wrong_is_told_with_what_mends_it(check: str, status: str, changes: dict[str, Any], mends: str) -> None:
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
