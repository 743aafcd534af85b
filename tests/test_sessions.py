"""Who starts the kit without words is told what there is, and who mistypes a session what was meant."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from nox.project import load_toml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import lock  # noqa: E402
import sessions  # noqa: E402
from mlx_publish.commands import registry  # noqa: E402


def nox(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "NOXSESSION"} | variables
    return subprocess.run(
        [sys.executable, "-m", "nox", "--noxfile", str(ROOT / "noxfile.py"), *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_the_list_has_every_session_of_nox_once_below_a_heading() -> None:
    listed = nox("--list").stdout.splitlines()
    names = [line.split()[1] for line in listed if line.startswith(("- ", "* "))]
    lines = sessions.listing().splitlines()
    begun = [line.split()[0] for line in lines if line.startswith("  ") and line[2:3].strip() and "  " in line[2:]]
    assert sorted(name for name in begun if name != "sh") == sorted(names)
    assert {name for name, command in registry().items() if command.extras is not None} <= set(names)
    assert not [line for line in listed if line.startswith("* ")], "nox alone starts nothing"


def test_every_session_says_what_it_does() -> None:
    assert [session.name for session in sessions.sessions() if len(session.help) < 10] == []
    assert [session.name for session in sessions.sessions() if session.tag == "other"] == [
        name for name, command in registry().items() if command.group.name == "OTHER" and command.extras is not None
    ]


def test_bootstrap_alone_lists_sessions_and_the_commands_that_most_people_want(tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", str(ROOT / "scripts/bootstrap.sh")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MLX_PUBLISH_PYTHON": sys.executable},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, sessions.listing(), "")
    assert "sh scripts/bootstrap.sh -s demo " in done.stdout
    assert "sh scripts/bootstrap.sh -s doctor " in done.stdout
    assert list(tmp_path.iterdir()) == [], "nothing is installed for a list"


def test_nox_alone_lists_them_too() -> None:
    done = nox()
    assert (done.returncode, done.stdout) == (0, sessions.listing())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-s", "demmo"], "error: unknown session demmo; did you mean demo?\n"),
        (["-s", "lint", "tsets", "--", "-x"], "error: unknown session tsets; did you mean tests?\n"),
        (["--session", "convrt"], "error: unknown session convrt; did you mean convert?\n"),
        (["-s", "zzzz"], "error: unknown session zzzz\n"),
    ],
)
def test_an_unknown_session_is_bad_input_and_the_likely_one_is_named(words: list[str], said: str) -> None:
    done = nox(*words)
    assert done.returncode == 2
    assert done.stderr.startswith(said)
    assert "sh scripts/bootstrap.sh lists the sessions" in done.stderr
    assert done.stdout == ""


def test_arguments_of_a_session_are_no_sessions() -> None:
    assert sessions.asked(["-s", "run", "lint", "-v", "--", "-s", "demmo"]) == ["run", "lint"]
    assert sessions.unknown(["-s", "run", "--", "-s", "demmo"]) == ""


def environment_of(cache: Path, name: str, *extras: str) -> None:
    """Put an environment there whose Python says what it is, as made by the lock for some extras."""
    project = load_toml(ROOT / "pyproject.toml")["project"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    lines = "".join(f"{entry.line()}\n" for entry in lock.part(wanted, lock.entries(lock.LOCK.read_text())))
    key = hashlib.sha256(f"{sys.executable}\n{lines}".encode()).hexdigest()[:12]
    folder = cache / f"{name}-{sys.version_info.major}.{sys.version_info.minor}-{key}"
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!/bin/sh\necho this is {name}\n")
    python.chmod(0o700)
    (folder / ".complete").touch()


@pytest.mark.skipif(sys.platform != "linux", reason="CUDA needs Linux")
@pytest.mark.parametrize(("backend", "used"), [("", "pipeline"), ("cpu", "pipeline"), ("cuda", "pipeline-cuda")])
def test_cuda_is_installed_where_it_is_asked_for(tmp_path: Path, backend: str, used: str) -> None:
    (cache := tmp_path / "cache").mkdir(mode=0o700)
    environment_of(cache, "pipeline", "mlx", "sign")
    environment_of(cache, "pipeline-cuda", "cuda", "sign")
    asked = {"MLX_PUBLISH_CACHE": str(cache), "MLX_PUBLISH_BACKEND": backend, "MLX_PUBLISH_ENVIRONMENT": ""}
    done = nox("-s", "doctor", **asked)
    assert done.returncode == 0, done.stderr
    assert f"this is {used}\n" in done.stdout


@pytest.mark.parametrize("backend", ["rocm", "CUDA"])
def test_a_backend_that_there_is_not_is_bad_input(tmp_path: Path, backend: str) -> None:
    done = nox("-s", "doctor", MLX_PUBLISH_BACKEND=backend, MLX_PUBLISH_ENVIRONMENT="", MLX_PUBLISH_CACHE=str(tmp_path))
    assert done.returncode == 2
    assert f"MLX_PUBLISH_BACKEND: '{backend}' is neither cpu nor cuda; set it to cuda on Linux" in done.stderr
