"""Who starts the kit without words is told what there is, and who mistypes a session what was meant."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import sessions  # noqa: E402
from mlx_publish.commands import registry  # noqa: E402


def nox(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "NOXSESSION"}
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
        (["-s", "demmo"], "error: there is no session demmo; did you mean demo?\n"),
        (["-s", "lint", "tsets", "--", "-x"], "error: there is no session tsets; did you mean tests?\n"),
        (["--session", "convrt"], "error: there is no session convrt; did you mean convert?\n"),
        (["-s", "zzzz"], "error: there is no session zzzz\n"),
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
