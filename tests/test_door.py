"""Whatever is printed, by us or by a library, commands neither a terminal nor GitHub's runner."""

from __future__ import annotations

import io
import json
import logging
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.text.door import Door, command
from mlx_publish.text.harmless import harmless, one_line, shown_json
from mlx_publish.text.streams import patient
from models import make_model
from pipeline import User
from runner_commands import commands

SCRIPTS = str(Path(__file__).parents[1] / "scripts")
EVIL = "##[stop-commands]abc ##[error]x"
LINES = f"x\n::error::y {EVIL}\r::warning::z\n  \u200b::add-mask::m \x1b[31m\u202e"
PIECES = (
    "#",
    "##",
    "[",
    "##[",
    ":",
    "::",
    " ",
    "\n",
    "\r",
    "\u00ad",
    "\u200b",
    "\u3164",
    "error]",
    "x",
    "\u2028",
    "\t",
    "\\",
)


def run(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a step of a job does, but for the runner's own commands."""
    environment = {**os.environ, "PYTHONPATH": SCRIPTS, "HF_ENDPOINT": "http://127.0.0.1:9", **variables}
    return subprocess.run(
        [sys.executable, "-m", "mlx_publish", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def event(folder: Path, **payload: Any) -> list[str]:
    """Write a dispatch into a folder; returns the arguments of `plan`."""
    (folder / "recipes").mkdir(exist_ok=True)
    path = folder / "event.json"
    path.write_text(json.dumps({"action": "mlx-publish", "client_payload": payload}), encoding="utf-8")
    return ["plan", "--event-name", "repository_dispatch", "--event", str(path), "--ref", "refs/heads/main"]


def test_a_plan_is_json_of_the_same_value_and_commands_nothing(tmp_path: Path) -> None:
    callback = f"{EVIL} ::error::y std::vector # #[x]"
    done = run(
        *event(tmp_path, source="acme/m", destination="acme/{source}-MLX-{variant}", callback=callback), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["callback"] == callback
    assert commands(done.stdout + done.stderr) == []
    assert "##[" not in done.stdout
    assert "::" not in done.stdout


@pytest.mark.parametrize(
    "text", [EVIL, LINES, "::x", "a:::b", "###[[", {"::k##[": [EVIL, 1, None]}, "ü\ud800\U0001f312"]
)
def test_json_keeps_its_value(text: Any) -> None:
    shown = shown_json({"a": text})
    assert json.loads(shown) == {"a": text}
    assert commands(shown) == []
    assert shown.isascii()


@pytest.mark.parametrize(
    "arguments",
    [
        (LINES,),
        ("plan", LINES),
        ("inspect", "--frob", LINES),
        ("hook", LINES, "x"),
        ("hook", "mlx-recipe", LINES),
        ("inspect", "--recipe", LINES),
        ("inspect", "--source", LINES),
        ("inspect", "--source", "a/b", "--bits", LINES),
        ("plan", "--event-name", LINES, "--event", "event.json", "--ref", LINES),
        ("verify", LINES),
        ("clean", "--work", LINES),
        ("clean", "--older-than", LINES),
        ("run", "--source", "a/b", "--until", LINES),
        ("smoke", "--template-only", "--source", LINES),
        ("review-cards", "--base", LINES),
        ("recipe", "--source", LINES),
    ],
    ids=lambda words: " ".join(words[:-1]),
)
@pytest.mark.parametrize("github", ["", "true"])
def test_arguments_that_are_quoted_command_nothing(tmp_path: Path, arguments: tuple[str, ...], github: str) -> None:
    event(tmp_path)
    done = run(*arguments, cwd=tmp_path, GITHUB_ACTIONS=github)
    assert done.returncode in (1, 2), done.stderr
    printed = done.stdout + done.stderr
    assert [line for line in commands(printed) if not (github and line.startswith("::error"))] == []
    assert "##[" not in printed
    assert not set(printed) & set("\x1b\u202e")


@pytest.mark.parametrize(
    "arguments", [("y" * 100_000,), ("inspect", "--frob", "y" * 100_000), ("hook", "y" * 100_000, "x")]
)
def test_an_error_of_usage_quotes_a_long_argument_in_part(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr) < 6000
    assert "\n  next: " in done.stderr
    assert "y" * 500 not in done.stderr


@pytest.mark.parametrize("arguments", [("inspect", "--json"), ("smoke", "--template-only", "--json")])
def test_a_model_whose_files_say_commands_is_told_of_without(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    make_model(tmp_path / "m", config={"model_type": f"\n::error::{EVIL}"})
    (tmp_path / "m" / "chat_template.jinja").write_text("{{ raise_exception('\n::error::x ##[error]') }}")
    done = run(*arguments, "--source", "m", *(() if "smoke" in arguments else ("--work", "w")), cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert commands(done.stdout + done.stderr) == []
    assert json.loads(done.stdout)


def test_nox_tells_its_command_line_without_commands(user: User, tmp_path: Path) -> None:
    ended = user.run("plan", "--event-name", LINES, "--event", "x", "--ref", EVIL, code=2, through="nox")
    assert "nox > " in ended.err
    assert "failed with exit code 2" in ended.text
    assert commands(f"{ended.out}\n{ended.err}") == []


def test_what_libraries_print_passes_the_door_too(capsys: pytest.CaptureFixture[str]) -> None:
    with patient():
        logging.getLogger("some.library").error(LINES)
        sys.excepthook(ValueError, ValueError(LINES), None)
        sys.stdout.writelines([LINES, "\n"])
        print(LINES, file=sys.stderr)
    printed = capsys.readouterr()
    assert "ValueError" in printed.err
    assert commands(printed.out + printed.err) == []
    assert not set(printed.out + printed.err) & set("\x1b\u202e\r")


def test_a_command_cut_into_pieces_is_none() -> None:
    chance = random.Random(7)  # noqa: S311
    for _ in range(4000):
        inner = io.StringIO()
        door = Door(inner)
        for _ in range(chance.randrange(1, 12)):
            door.write("".join(chance.choice(PIECES) for _ in range(chance.randrange(1, 4))))
            if chance.random() < 0.5:
                door.flush()
        door.finish()
        assert commands(inner.getvalue()) == [], inner.getvalue()


def test_nothing_is_lost_and_ordinary_text_stays() -> None:
    inner = io.StringIO()
    door = Door(inner)
    for piece in ("std", "::", "vector # ", "#1 [a]\n", "  half", " a line", "\ttab ü 🌒\n", "last #"):
        door.write(piece)
    door.finish()
    assert inner.getvalue() == "std::vector # #1 [a]\n  half a line\ttab ü 🌒\nlast #"


def test_what_is_no_half_of_a_command_is_seen_at_once() -> None:
    inner = io.StringIO()
    door = Door(inner)
    door.write("Continue? ")
    door.flush()
    assert inner.getvalue() == "Continue? "


@pytest.mark.parametrize("unseen", [" ", "\u200b"])
def test_a_line_without_an_end_is_not_kept(unseen: str) -> None:
    for start, end in (("", "::error::x"), ("#", "#[error]x"), ("y" * 70_000 + "#", "#[error]x")):
        inner = io.StringIO()
        door = Door(inner)
        door.write(start + unseen * 200_000)
        assert len(door._held) < 1000
        door.write(end + "\n")
        door.finish()
        assert commands(inner.getvalue()) == []


def test_our_own_command_is_a_line_of_its_own() -> None:
    inner = io.StringIO()
    door = Door(inner)
    door.write("half ##[a")
    command(door, "::error::told")
    door.write("::error::not told\n")
    door.finish()
    assert inner.getvalue().split("\n") == ["half #\\#[a", "::error::told", "\\::error::not told", ""]
    assert commands(inner.getvalue()) == ["::error::told"]


def test_a_progress_bar_moves_on_a_terminal_alone() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for inner, shown in (
        (Terminal(), "\r10 %\r20 %\x1b[A\ufffd[31m"),
        (io.StringIO(), "\ufffd10 %\ufffd20 %\ufffd[A\ufffd[31m"),
    ):
        door = Door(inner)
        for piece in ("\r10 %", "\r20 %", "\x1b[A", "\x1b[31m"):
            door.write(piece)
            door.flush()
        assert inner.getvalue() == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[1m", "\ufffd[1m"),
        ("a\u2028b", "a\\u2028b"),
        ("ab" * 500, "ab" * 75 + "[… 800 more …]" + "ab" * 25),
    ],
)
def test_a_quoted_text_is_a_part_of_one_line(text: str, shown: str) -> None:
    assert one_line(text) == shown


@pytest.mark.parametrize("variable", ["GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"])
@pytest.mark.parametrize("name", [".", "missing/file"])
def test_an_output_that_cannot_be_written_does_not_hide_what_happened(tmp_path: Path, variable: str, name: str) -> None:
    done = run("inspect", cwd=tmp_path, **{variable: name})
    assert done.returncode == 2
    assert "neither --recipe nor --source is given" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "recipes").mkdir()
    done = run(
        *event(tmp_path, source="acme/m", destination="acme/{source}-MLX-{variant}"), cwd=tmp_path, **{variable: name}
    )
    assert done.returncode == (4 if variable == "GITHUB_OUTPUT" else 0)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("piece", ["\n", " ", "\r", "#", "# ", ":", ": ", "\u200b", "##", "\n#", "\n:", "\n "])
def test_a_megabyte_of_anything_is_looked_at_within_a_second(piece: str) -> None:
    start = time.monotonic()
    text = piece * (1_000_000 // len(piece))
    harmless(f"{text}x")
    door = Door(io.StringIO())
    door.write(text)
    door.flush()
    for _ in range(1000):
        door.write(piece)
        door.flush()
    door.finish()
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("github", ["", "true"])
def test_bootstrap_tells_what_it_was_given_without_commands(tmp_path: Path, github: str) -> None:
    summary = tmp_path / "summary"
    variables = {"MLX_PUBLISH_PYTHON": f"/x {LINES} #\u00ad#[z] \x9b ~~~ <b>", "GITHUB_STEP_SUMMARY": str(summary)}
    done = subprocess.run(
        ["sh", f"{SCRIPTS}/bootstrap.sh", "-s", "plan"],
        env={**os.environ, **variables, "GITHUB_ACTIONS": github},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    printed = commands(done.stdout + done.stderr)
    assert len(printed) == bool(github)
    assert all(line.startswith("::error::bootstrap: ") and "##[" not in line for line in printed)
    assert not set(done.stderr) & set("\x1b\x9b\u202e\r")
    if github:
        heading, _, fence, *lines, closing = summary.read_text().splitlines()
        assert (heading, fence, closing) == ("### mlx-publish: error", "~~~text", "~~~")
        assert not [line for line in lines if line.lstrip().startswith("~~~")]


@pytest.mark.parametrize(("hook", "name"), [("mlx-recipe", "r{}.yaml"), ("mlx-model-config", "m{}/config.json")])
def test_a_file_of_a_hostile_name_is_told_of_without_commands(tmp_path: Path, hook: str, name: str) -> None:
    path = tmp_path / name.format("\n::error::x ##[error]y \x1b[31m")
    path.parent.mkdir(exist_ok=True)
    path.write_text("{")
    (path.parent / "model.safetensors").touch()
    done = run("hook", hook, str(path.relative_to(tmp_path)), cwd=tmp_path, GITHUB_ACTIONS="true")
    assert done.returncode == 1, done.stderr
    printed = commands(done.stdout + done.stderr)
    assert printed
    assert all(line.startswith(("::error ", "::warning ")) and "file=" in line for line in printed)
    assert "##[" not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
