"""Killed, ended, or started twice: nothing half-done stays, and the next run comes to the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from models import make_model
from pipeline import User, alive, children, command_of, digests, leftovers, wait_for

VARIANTS = "4bit,8bit,2bit,3bit,6bit,bf16,fp16"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    """A conversion of some seconds, most of it in the child."""
    make_model(tmp_path / "m", hidden=1024, layers=8)
    return ["--source", str(tmp_path / "m"), "--variants", VARIANTS, "--work", str(tmp_path / "work")]


def in_the_middle(user: User, work: Path, *words: object) -> tuple[subprocess.Popen[str], set[int]]:
    """Start a command and return when the weights of its second variant are being made, with its children."""
    process = user.start(*words)
    wait_for(lambda: list(work.glob("m/8bit/.model.new-*/model")) or process.poll() is not None)
    assert process.poll() is None, process.communicate()[0]
    return process, children(process.pid)


def test_killed_in_the_middle_of_a_conversion_it_finishes_the_next_time(
    tmp_path: Path, user: User, flags: list[str]
) -> None:
    process, started = in_the_middle(user, tmp_path / "work", "convert", *flags)
    assert started
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.communicate()
    # The child has a session of its own; without its parent it must not go on writing.
    wait_for(lambda: not any(alive(child) for child in started), 5)
    assert not list((tmp_path / "work").glob("m/*/model"))
    user.run("convert", *flags)
    assert not leftovers(tmp_path / "work")
    undisturbed = tmp_path / "undisturbed"
    user.run("convert", *flags[:-1], undisturbed)
    for label in VARIANTS.split(","):
        made = digests(tmp_path / "work/m" / label / "model")
        assert made == digests(undisturbed / "m" / label / "model")
        assert "model.safetensors" in made


def test_two_jobs_with_work_folders_of_their_own_take_turns(tmp_path: Path, user: User) -> None:
    make_model(tmp_path / "m")
    path = user.home / ".cache/mlx-publish/machine.lock"
    path.parent.mkdir(parents=True)
    words = ("convert", "--source", tmp_path / "m", "--work", tmp_path / "work")
    with FileLock(path):
        process = user.start(*words)
        assert process.stdout
        said = ""
        while "waiting for its stage to end" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        assert not list((tmp_path / "work").rglob("*.safetensors"))
    more, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said + more
    assert list((tmp_path / "work").rglob("*.safetensors"))
    # Nothing is computed the second time, so nobody is waited for.
    with FileLock(path):
        user.run(*words)


def test_where_the_machine_cannot_be_locked_that_is_said(tmp_path: Path, user: User) -> None:
    make_model(tmp_path / "m")
    user.home.mkdir(exist_ok=True)
    (user.home / ".cache").write_text("no folder")
    said = user.run("convert", "--source", tmp_path / "m", "--work", tmp_path / "work").text
    assert "machine.lock cannot be locked" in " ".join(said.split())


@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGINT])
def test_one_at_a_time_and_ended_it_leaves_nothing_half_done(
    tmp_path: Path, user: User, flags: list[str], ends: signal.Signals
) -> None:
    process, started = in_the_middle(user, tmp_path / "work", "convert", *flags)
    for id_ in (process.pid, *started):
        os.kill(id_, signal.SIGSTOP)
    before = sorted(tmp_path.rglob("*"))
    ended = user.run("convert", *flags, code=4)
    assert "another mlx-publish is running in" in ended.text
    assert [path for path in before if not path.exists()] == []
    # It waits for the process to go on, which a quiet machine might else finish first.
    process.send_signal(ends)
    for id_ in (*started, process.pid):
        os.kill(id_, signal.SIGCONT)
    said, _ = process.communicate(timeout=10)
    assert (process.returncode, "error: interrupted" in said, "Traceback" in said) == (130, True, False)
    assert not any(alive(child) for child in started)
    assert not list((tmp_path / "work").glob("m/*/model"))
    assert not leftovers(tmp_path / "work")
    assert not list((user.home / "tmp").iterdir())


def test_ended_while_models_are_asked_it_ends_them(tmp_path: Path, user: User) -> None:
    make_model(tmp_path / "m")
    flags = ["--source", tmp_path / "m", "--variants", "4bit,8bit", "--work", tmp_path / "work"]
    user.run("convert", *flags)
    process = user.start("smoke", *flags)

    def engines() -> set[int]:
        return {child for child in children(process.pid) if "mlx_publish.engine" in command_of(child)}

    wait_for(lambda: process.poll() is not None or len(engines()) == min(2, os.cpu_count() or 1))
    started = engines()
    assert started
    # A job that would go on for long: its children are stopped.
    for child in started:
        os.kill(child, signal.SIGSTOP)
    process.terminate()
    said, _ = process.communicate(timeout=10)
    assert (process.returncode, "Traceback" in said) == (130, False)
    assert not any(alive(child) for child in started)
