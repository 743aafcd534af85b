"""Whoever reads the output may be gone, or know ASCII alone: the exit code tells of the command all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FULL = Path("/dev/full")
SCRIPTS = str(Path(__file__).parents[1] / "scripts")
full = pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")


def command(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, for only there are the streams real."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    pipes["env"] = {**os.environ, **(options.get("env") or {}), "PYTHONPATH": SCRIPTS}
    return subprocess.run([sys.executable, "-m", "mlx_publish", *arguments], text=True, check=False, **pipes)


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """A recipe for the hook to speak of, with letters outside of ASCII."""
    path = tmp_path / "räcipe.yaml"
    path.write_text("varients: 4bit\nsource: é/b\n", encoding="utf-8")
    return path


def test_what_ascii_lacks_is_replaced(wrong: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    done = command("hook", "mlx-recipe", str(wrong), env=environment)
    assert done.returncode == 1
    assert "r?cipe.yaml" in done.stdout


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("arguments", [("--help",), ("hook", "mlx-recipe", "missing.yaml")])
def test_a_reader_that_has_gone_changes_nothing(arguments: tuple[str, ...], stream: str) -> None:
    there = command(*arguments).returncode
    reading, writing = os.pipe()
    os.close(reading)
    gone = command(*arguments, **{stream: writing})
    os.close(writing)
    assert gone.returncode == there


@full
@pytest.mark.parametrize("arguments", [("--help",), ("drift", "--help")])
def test_a_full_device_is_told(arguments: tuple[str, ...]) -> None:
    with FULL.open("w") as device:
        done = command(*arguments, stdout=device)
    assert done.returncode == 4
    assert "No space left on device" in done.stderr


@full
def test_a_full_device_does_not_hide_a_refusal(wrong: Path) -> None:
    with FULL.open("w") as device:
        assert command("hook", "mlx-recipe", str(wrong), stdout=device, stderr=device).returncode == 1
        assert command("--help", stdout=device, stderr=device).returncode == 4


def test_streams_that_are_closed_are_no_bug(tmp_path: Path) -> None:
    script = f'exec "{sys.executable}" -m mlx_publish doctor --json --work "$1" >&- 2>&-'
    environment = {**os.environ, "PYTHONPATH": SCRIPTS}
    done = subprocess.run(["sh", "-c", script, "sh", str(tmp_path)], check=False, env=environment)
    assert done.returncode in (0, 4)


@pytest.mark.parametrize("arguments", ["--help", "hook mlx-recipe missing.yaml", "inspect --source nowhere --json"])
@pytest.mark.parametrize("reader", ["head -n 1", "true"])
def test_behind_head_a_command_ends_as_it_would_without(tmp_path: Path, arguments: str, reader: str) -> None:
    there = command(*arguments.split(), cwd=tmp_path)
    script = f'set -o pipefail; "{sys.executable}" -m mlx_publish {arguments} 2>&1 | {reader}'
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": SCRIPTS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == there.returncode
    assert "Traceback" not in done.stderr
    assert "Broken pipe" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-16", "cp437"])
def test_an_encoding_decides_over_letters_alone(wrong: Path, encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": SCRIPTS}
    words = [sys.executable, "-m", "mlx_publish", "hook", "mlx-recipe", str(wrong)]
    done = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert done.returncode == 1
    assert "varients" in done.stdout.decode(encoding)
    assert "Traceback" not in done.stderr.decode(encoding)
