"""The lock: whole, as pyproject.toml and constraints.txt ask for it, and an environment's part of it."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nox
import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

import lock
import torch_environment

PROJECT = nox.project.load_toml(lock.ROOT / "pyproject.toml")
LOCKED = lock.entries(lock.LOCK.read_text(encoding="utf-8"))
SYSTEMS = [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")]
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]
SMALL = """\
# made
nox==1 \\
    --hash=sha256:01 \\
    --hash=sha256:02
    # via mlx-publish (pyproject.toml:test)
numpy==1 ; python_full_version < '3.11' \\
    --hash=sha256:05
    # via rich, -c constraints.txt
numpy==2 ; python_full_version >= '3.11' \\
    --hash=sha256:06
    # via rich
rich==3 \\
    --hash=sha256:03
    # via mlx-publish (pyproject.toml)
uv==2 ; sys_platform == 'linux' \\
    --hash=sha256:04
    # via nox, -c constraints.txt
"""


def all_wanted() -> list[str]:
    project = PROJECT["project"]
    groups = [nox.project.dependency_groups(PROJECT, group) for group in ("demo", "test", "bench", "lint")]
    return [
        *project["dependencies"],
        *project["optional-dependencies"]["mlx"],
        *(one for some in groups for one in some),
    ]


def test_the_lock_is_that_of_pyproject_and_constraints() -> None:
    assert lock.stale(PROJECT) == ""


@pytest.mark.parametrize("system", SYSTEMS, ids="-".join)
@pytest.mark.parametrize("python", PYTHONS)
def test_each_system_and_python_has_one_version_of_all_that_is_wanted(python: str, system: tuple[str, str]) -> None:
    there = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": system[0],
        "platform_machine": system[1],
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    taken = [entry for entry in LOCKED if not entry.marker or Marker(entry.marker).evaluate(dict(there))]
    versions = {entry.name: entry.version for entry in taken}
    assert len(versions) == len(taken)
    for wanted in map(Requirement, all_wanted()):
        if wanted.marker is None or wanted.marker.evaluate(dict(there)):
            assert wanted.specifier.contains(versions[lock.name_of(wanted.name)], prereleases=True), wanted


def test_every_package_has_hashes_of_sha256() -> None:
    for entry in LOCKED:
        assert entry.hashes, entry.pin
        assert all(one.startswith("sha256:") and len(one) == 71 for one in entry.hashes)


def wanted_more(project: dict[str, Any]) -> None:
    project["project"]["dependencies"].append("left-pad")


def wanted_in_a_group(project: dict[str, Any]) -> None:
    project["dependency-groups"]["lint"].append("left-pad")


def wanted_in_the_extra(project: dict[str, Any]) -> None:
    project["project"]["optional-dependencies"]["mlx"][0] = "mlx>=0.33"


@pytest.mark.parametrize("change", [wanted_more, wanted_in_a_group, wanted_in_the_extra])
def test_a_lock_of_another_pyproject_is_noticed(change: Any) -> None:
    project = copy.deepcopy(PROJECT)
    change(project)
    assert "was made from another pyproject.toml" in lock.stale(project)


@pytest.mark.parametrize("file", ["CONSTRAINTS", "LOCK"])
@pytest.mark.parametrize("change", [("==", "==9"), ("\n", " ; sys_platform == 'linux'\n"), ("nox==", "#nox==")])
def test_a_lock_that_differs_from_the_constraints_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, change: tuple[str, str]
) -> None:
    [nox_] = [entry for entry in LOCKED if entry.name == "nox"]
    line = nox_.pin + (" \\\n" if file == "LOCK" else "\n")
    text = getattr(lock, file).read_text(encoding="utf-8")
    assert line in text
    (tmp_path / "changed").write_text(text.replace(line, line.replace(*change)), encoding="utf-8")
    monkeypatch.setattr(lock, file, tmp_path / "changed")
    assert re.search("differ in #?nox==", lock.stale(PROJECT))
    assert "run: nox -s lock" in lock.stale(PROJECT)


def test_a_package_without_a_hash_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = LOCKED[0]
    text = lock.LOCK.read_text(encoding="utf-8")
    for one in first.hashes:
        text = text.replace(f"    --hash={one} \\\n", "").replace(f"    --hash={one}\n", "")
    (tmp_path / "changed").write_text(text, encoding="utf-8")
    monkeypatch.setattr(lock, "LOCK", tmp_path / "changed")
    assert f"has no hash of {first.pin}" in lock.stale(PROJECT)


def test_an_environment_takes_what_it_wants_and_what_that_needs() -> None:
    small = lock.entries(SMALL)
    assert [entry.line() for entry in lock.part(["Nox[uv]>=1"], small)] == [
        "nox==1 --hash=sha256:01 --hash=sha256:02",
        "uv==2 ; sys_platform == 'linux' --hash=sha256:04",
    ]
    assert [entry.pin for entry in lock.part(["rich"], small)] == ["numpy==1", "numpy==2", "rich==3"]
    with pytest.raises(KeyError, match="left-pad"):
        lock.part(["rich", "left_pad"], small)


def test_the_light_environment_has_no_mlx_and_that_of_the_stages_has_it_for_both_systems() -> None:
    light = {entry.name for entry in lock.part(PROJECT["project"]["dependencies"], LOCKED)}
    assert not light & {"mlx", "mlx-lm", "transformers", "torch", "pytest"}
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"]["mlx"]]
    stages = {entry.name for entry in lock.part(wanted, LOCKED)}
    assert {"mlx", "mlx-metal", "mlx-cpu", "mlx-lm", "torch", *light} <= stages


def test_cuda_is_forced_on_nobody_and_brings_no_build_for_the_cpu() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    cpu, cuda = ({entry.name for entry in lock.part(extras[name], LOCKED)} for name in ("mlx", "cuda"))
    assert "mlx-cpu" in cpu
    assert [name for name in cpu if "cuda" in name or name.startswith("nvidia")] == []
    assert {"mlx-cuda-13", "mlx-lm", "transformers", "nvidia-cublas"} <= cuda
    assert "mlx-cpu" not in cuda
    for group in ("test", "bench", "lint"):
        wanted = nox.project.dependency_groups(PROJECT, group)
        assert not {entry.name for entry in lock.part(wanted, LOCKED)} & lock.BUILDS


def test_each_build_of_mlx_is_taken_by_its_extra_alone() -> None:
    builds = {entry.name for entry in LOCKED if entry.name.startswith("mlx-")} - {"mlx-lm", "mlx-metal"}
    assert builds <= lock.BUILDS
    versions = {entry.name: entry.version for entry in LOCKED if entry.name in {"mlx", *builds}}
    assert len(set(versions.values())) == 1, versions


def test_a_bare_python_prints_the_part_of_nox() -> None:
    command = [sys.executable, "-I", "-S", str(lock.ROOT / "scripts" / "lock.py"), "nox"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    names = {line.partition("==")[0] for line in done.stdout.splitlines()}
    assert {"nox", "uv", "virtualenv"} <= names
    assert all("--hash=sha256:" in line for line in done.stdout.splitlines())


def test_pytorch_for_the_cpu_has_hashes_of_the_version_that_is_locked() -> None:
    [torch] = {entry.version for entry in LOCKED if entry.name == "torch"}
    lines = torch_environment.HASHES.read_text(encoding="utf-8").splitlines()
    assert lines
    for line in lines:
        digest, _, name = line.partition("  ")
        assert len(digest) == 64
        assert name.startswith(f"torch-{torch}+cpu-cp3")


def test_hashes_are_read_from_the_page_of_pytorchs_index() -> None:
    good, other = "a" * 64, "b" * 64
    page = f"""
    <a href="/whl/cpu/torch-2.13.0%2Bcpu-cp312-cp312-manylinux_2_28_x86_64.whl#sha256={good}">t</a>
    <a href="/whl/cpu/torch-2.13.0%2Bcpu-cp312-cp312-manylinux_2_28_aarch64.whl#sha256={other}">t</a>
    <a href="/whl/cpu/torch-2.13.0%2Bcpu-cp313-cp313t-manylinux_2_28_x86_64.whl#sha256={other}">t</a>
    <a href="/whl/cpu/torch-2.13.1%2Bcpu-cp312-cp312-manylinux_2_28_x86_64.whl#sha256={other}">t</a>
    """
    assert torch_environment.hashes_in(page, "2.13.0") == [
        f"{good}  torch-2.13.0+cpu-cp312-cp312-manylinux_2_28_x86_64.whl"
    ]
