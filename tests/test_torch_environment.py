"""PyTorch beside the stages: the session that brings it, the stages that take it, and the versions that were tried."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nox
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import torch_environment
from torch_environment import ROOT, VARIABLE

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what belongs to another user")
LINUX = pytest.mark.skipif(not torch_environment.is_for_this_machine(), reason="a Mac's stages have PyTorch")
EXTRAS = nox.project.load_toml(ROOT / "pyproject.toml")["project"]["optional-dependencies"]
# Whatever else this machine's pip is set to.
UNREACHABLE = {
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_RETRIES": "0",
    "HTTPS_PROXY": "http://127.0.0.1:9",
}
TELLING = f'#!/bin/sh\necho "$7, torch in ${{{VARIABLE}-nothing}}"\n'


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of one's own, and a Python of the stages that only tells what it was told."""
    python = tmp_path / "stages" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(TELLING)
    python.chmod(0o755)
    monkeypatch.setenv("MLX_PUBLISH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run_nox(session: str, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    own = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "MLX_PUBLISH_CACHE": str(tmp_path / "cache"),
        "MLX_PUBLISH_ENVIRONMENT": str(tmp_path / "stages"),
    }
    command = [sys.executable, "-I", "-m", "nox", "-f", str(ROOT / "noxfile.py"), "-s", session]
    return subprocess.run(
        command,
        env=own | variables,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def put(folder: Path) -> Path:
    """Put an environment there that says that it is whole."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    (folder / ".complete").touch()
    return python


@pytest.mark.parametrize("name", ["mlx", "mlx-lm", "transformers", "torch"])
def test_no_version_is_allowed_that_is_newer_than_what_was_tried(name: str) -> None:
    locked = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines()]
    tried = max(Version(str(one.specifier).removeprefix("==")) for one in locked if one.name == name)
    wanted = [Requirement(line) for line in (*EXTRAS["mlx"], *EXTRAS["reference"])]
    ranges = [one.specifier for one in wanted if one.name == name]
    assert ranges
    for allowed in ranges:
        assert tried in allowed
        assert f"{tried.major}.{tried.minor}.99" in allowed
        assert f"{tried.major}.{tried.minor + 1}" not in allowed


def test_a_mac_has_pytorch_among_the_stages_packages_and_linux_has_it_not() -> None:
    [torch] = [one for one in map(Requirement, EXTRAS["mlx"]) if one.name == "torch"]
    assert torch.marker
    there = {
        system: torch.marker.evaluate({"sys_platform": system, "platform_machine": machine})
        for system, machine in (("darwin", "arm64"), ("linux", "x86_64"))
    }
    assert there == {"darwin": True, "linux": False}


def test_the_versions_are_those_of_a_mac() -> None:
    pins = torch_environment.pins()
    names = [pin.partition("==")[0] for pin in pins]
    assert len(names) == len(set(names))
    assert {"torch", "mlx-metal", *torch_environment.BESIDE_TORCH, *torch_environment.COMPARED} <= set(names)
    assert "mlx-cpu" not in names


@LINUX
def test_where_nothing_is_reached_it_says_what_else_to_do_and_leaves_nothing(cache: Path, tmp_path: Path) -> None:
    done = run_nox("reference", tmp_path, **UNREACHABLE)
    assert done.returncode == 4
    assert "torch==2.13.0 for the CPU" in done.stderr
    assert f"set {VARIABLE} to a Python that has torch and transformers" in done.stderr
    assert not [path for path in cache.iterdir() if path.is_dir()]


@LINUX
def test_a_stage_goes_on_where_pytorch_cannot_be_brought(tmp_path: Path) -> None:
    done = run_nox("inspect", tmp_path, MLX_PUBLISH_PYTORCH="true", **UNREACHABLE)
    assert done.returncode == 0
    assert "the architecture will not be proven: neither" in done.stderr
    assert done.stdout == "inspect, torch in nothing\n"


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"MLX_PUBLISH_PYTORCH": "false"},
        {"MLX_PUBLISH_PYTORCH": "true", VARIABLE: "/mine"},
    ],
)
def test_it_is_brought_only_where_the_action_asks_and_none_is_named(tmp_path: Path, variables: dict[str, str]) -> None:
    done = run_nox("inspect", tmp_path, **variables, **UNREACHABLE)
    assert done.stdout == f"inspect, torch in {variables.get(VARIABLE, 'nothing')}\n"
    assert "PyTorch" not in done.stderr


@pytest.mark.parametrize("session", ["inspect", "doctor"])
def test_what_was_brought_is_taken_unless_another_is_named(tmp_path: Path, session: str) -> None:
    python = put(torch_environment.folder())
    assert run_nox(session, tmp_path).stdout == f"{session}, torch in {python}\n"
    assert run_nox(session, tmp_path, MLX_PUBLISH_PYTORCH="true").stdout == f"{session}, torch in {python}\n"
    assert run_nox(session, tmp_path, **{VARIABLE: "/mine"}).stdout == f"{session}, torch in /mine\n"


def put_telling(folder: Path, ran: Path) -> Path:
    """Put an environment there that tells that it ran."""
    shutil.rmtree(folder)
    python = put(folder)
    python.write_text(f"#!/bin/sh\n: >'{ran}'\n")
    python.chmod(0o755)
    return python


@LINUX
@AS_ROOT
@pytest.mark.parametrize("planted", ["", "bin", "bin/python", ".complete", "lib/site.pth"])
def test_what_another_user_planted_is_not_taken(cache: Path, tmp_path: Path, planted: str) -> None:
    python = put(torch_environment.folder())
    (python.parent.parent / "lib").mkdir()
    (python.parent.parent / "lib" / "site.pth").touch()
    assert torch_environment.python() == python
    os.chown(python.parent.parent / planted, 54321, 54321)
    assert torch_environment.python() is None
    assert run_nox("inspect", tmp_path).stdout == "inspect, torch in nothing\n"


@LINUX
def test_from_a_cache_that_all_may_write_nothing_is_taken_and_nothing_is_made_there(
    cache: Path, tmp_path: Path
) -> None:
    put(torch_environment.folder())
    cache.chmod(0o777)
    assert torch_environment.python() is None
    assert "is writable by everybody" in torch_environment.make()
    done = run_nox("reference", tmp_path, **UNREACHABLE)
    assert done.returncode == 4
    assert "MLX_PUBLISH_CACHE" in done.stderr


@AS_ROOT
def test_an_environment_of_the_stages_that_another_user_planted_is_made_anew(cache: Path, tmp_path: Path) -> None:
    own = {"MLX_PUBLISH_ENVIRONMENT": "", "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}
    first = run_nox("plan", tmp_path, **UNREACHABLE, **own)
    assert first.returncode == 4
    [name] = re.findall(r"creating the environment (plan-\S+) \(once\)", first.stderr)
    assert "http://127.0.0.1:9/simple (UV_DEFAULT_INDEX), with the lock's hashes" in first.stderr
    telling = put_telling(cache / name, tmp_path / "ran")
    os.chown(telling, 54321, 54321)
    assert run_nox("plan", tmp_path, **UNREACHABLE, **own).returncode == 4
    assert not (tmp_path / "ran").exists()
    put_telling(cache / name, tmp_path / "ran")
    assert run_nox("plan", tmp_path, **UNREACHABLE, **own).returncode == 0
    assert (tmp_path / "ran").exists()
    cache.chmod(0o775)
    os.chown(cache, 0, 54321)
    refused = run_nox("plan", tmp_path, **UNREACHABLE, **own)
    assert refused.returncode == 4
    assert "is writable by the group 54321" in refused.stderr


def test_uv_does_not_take_packages_from_a_cache_that_others_may_change(cache: Path, tmp_path: Path) -> None:
    shared = tmp_path / "uv"
    shared.mkdir()
    shared.chmod(0o777)
    own = {"MLX_PUBLISH_ENVIRONMENT": "", "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}
    done = run_nox("plan", tmp_path, UV_CACHE_DIR=str(shared), **UNREACHABLE, **own)
    assert f"not using uv's cache '{shared}': '{shared}' (owner" in done.stderr
    assert not list(shared.iterdir())
    assert (cache / "uv").is_dir()


@LINUX
def test_it_is_made_once_and_one_of_another_lock_file_or_half_of_one_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = put(torch_environment.folder())
    assert run_nox("reference", tmp_path, **UNREACHABLE).returncode == 0
    python.unlink()
    assert torch_environment.python() is None
    python.touch()
    other = tmp_path / "constraints.txt"
    other.write_text("torch==9 ; sys_platform == 'darwin'\n")
    monkeypatch.setattr(torch_environment, "CONSTRAINTS", other)
    assert torch_environment.pins() == ["torch==9"]
    assert torch_environment.python() is None


@LINUX
@pytest.mark.slow
def test_what_the_session_brings_computes_and_starts_without_compiling(torch_python: Path) -> None:
    asked = "import torch, transformers; print(torch.version.cuda, torch.__cached__, transformers.__version__)"
    done = subprocess.run([torch_python, "-I", "-c", asked], capture_output=True, text=True, check=True)
    cuda, compiled, _ = done.stdout.split()
    assert cuda == "None"
    assert Path(compiled).exists()
