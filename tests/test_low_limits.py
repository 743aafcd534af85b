"""A shell that allows little memory, few files or few bytes is the surroundings: exit code 4 at most, with a next step."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlx_publish.cli import main
from mlx_publish.errors import by_words, of_the_surroundings
from models import make_model

SCRIPTS = str(Path(__file__).parents[1] / "scripts")
linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not enforce these limits")


def limited(limit: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line under `ulimit`."""
    (cwd / "tmp").mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": SCRIPTS, "TMPDIR": str(cwd / "tmp"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    return subprocess.run(
        ["sh", "-c", f'ulimit {limit} && exec "$@"', "sh", sys.executable, "-m", "mlx_publish", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


@linux
@pytest.mark.parametrize("limit", ["-n 64", "-n 12", "-v 200000"])
def test_where_mlx_cannot_start_that_is_said_and_nothing_is_left(tmp_path: Path, limit: str) -> None:
    make_model(tmp_path / "m")
    done = limited(limit, "publish", "--source", "m", "--to", "folder:out", cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert "next: " in done.stderr
    assert "ulimit" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "work").rglob("model"))
    assert list((tmp_path / "tmp").iterdir()) == []


@linux
@pytest.mark.parametrize("limit", ["-n 64", "-n 8", "-v 200000", "-v 120000", "-f 0"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "--source", "m"),
        ("verify", "m"),
        ("smoke", "--template-only", "--source", "m"),
        ("hook", "mlx-model-config", "m/config.json"),
        ("drift",),
        ("inspect", "--source", "acme/m"),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_no_limit_makes_a_bug(tmp_path: Path, limit: str, arguments: tuple[str, ...]) -> None:
    make_model(tmp_path / "m")
    (tmp_path / "recipes").mkdir()
    done = limited(limit, *arguments, cwd=tmp_path)
    assert done.returncode in (0, 1, 2, 4), done.stderr
    assert "Traceback" not in done.stderr
    assert "this is a bug" not in done.stderr


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "out of memory"),
        (OSError(errno.EMFILE, "Too many open files", "x"), "Too many open files (x)"),
        (OSError(errno.EFBIG, "File too large"), "File too large"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "temporarily unavailable"),
        (RuntimeError("can't start new thread"), "cannot start another thread"),
        (ImportError("a.so: failed to map segment from shared object"), "out of memory"),
        (ImportError("a.so: cannot open shared object file: Too many open files"), "too many open files"),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
            "no writable folder for temporary files",
        ),
        (ValueError("not allowed to raise maximum limit"), "mlx-lm needs 4096 open files"),
    ],
)
def test_a_limit_is_told_with_a_next_step(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: object) -> int:
        raise error

    monkeypatch.setattr("mlx_publish.cli._run", fails)
    assert main(["drift"]) == 4
    said = capsys.readouterr().err
    assert words in said
    assert "then run the same command again" in said


@pytest.mark.parametrize(
    "error", [ValueError("x"), RuntimeError("x"), FileNotFoundError(errno.ENOENT, "x"), KeyError("x")]
)
def test_any_other_exception_is_a_bug(error: Exception) -> None:
    assert of_the_surroundings(error) is None
    assert by_words(str(error)) is None


def test_a_bug_whose_log_cannot_be_written_is_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: object) -> int:
        raise KeyError("x" * 5000)

    monkeypatch.setattr("mlx_publish.cli._run", fails)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    assert main(["drift"]) == 3
    said = capsys.readouterr().err
    assert "KeyError" in said
    assert "the log could not be written" in said
    assert len(said) < 2000
