"""The child with torch from outside: where it is found, what it is given, what is made of its end."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_publish.children import torch as child
from mlx_publish.children.process import python
from mlx_publish.children.torch import NOT_INSTALLED, VARIABLE, Answer, Torch, TorchChild, compare, find_torch
from mlx_publish.torch_check import __main__ as inside

Program = Callable[[str], Path]
VERSIONS = {"torch": "2.13.0", "transformers": "5.24.0"}


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A shell script in the place of a Python."""

    def make(text: str) -> Path:
        path = tmp_path / "a python"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return make


def answered(python: Path, tmp_path: Path, limit: float = 30) -> Answer:
    return compare(Torch(python, VERSIONS), tmp_path / "source", tmp_path / "logits", tmp_path / "logs/x.log", limit)


def test_the_answer_is_a_line_of_ours_and_the_rest_goes_to_the_log(program: Program, tmp_path: Path) -> None:
    python = program(
        """
        read -r order; printf %s "$order" > "$0.order"; echo '{"done": {"result": {"nmse": 1}}}' >&2
        echo '{"done": {"result": {"nmse": 0.5}}}'; sleep 60"""
    )
    assert answered(python, tmp_path) == Answer({"nmse": 0.5})
    assert json.loads(python.with_name("a python.order").read_text()) == {
        "source": str(tmp_path / "source"),
        "logits": str(tmp_path / "logits"),
    }
    assert "nmse" in (tmp_path / "logs/x.log").read_text()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('read -r order; echo \'{"done": {"reason": "out of memory"}}\'', "out of memory"),
        ("kill -KILL $$", "the child with torch was killed, most likely because memory ran out"),
        ("kill -SEGV $$", "the child with torch died of signal 11: no output"),
        (
            "echo one >&2; echo libtorch is missing >&2; exit 3",
            "the child with torch ended with 3: libtorch is missing",
        ),
        ("exit 0", "the child with torch ended with 0: no output"),
        ("echo nonsense; sleep 60", "the child with torch ended with 94: no output"),
        ('sleep 60 & echo $! > "$0.sleeper"; wait', "timed out after 0.5 seconds"),
    ],
)
def test_whatever_ends_the_child_is_a_reason(program: Program, tmp_path: Path, text: str, reason: str) -> None:
    answer = answered(program(text), tmp_path, limit=0.5 if "sleep" in text else 30)
    assert answer.result is None
    assert reason in answer.reason


def test_nothing_outlives_it(program: Program, tmp_path: Path) -> None:
    python = program('sleep 60 & echo $! > "$0.sleeper"; exit 1')
    answered(python, tmp_path)
    sleeper = int(python.with_name("a python.sleeper").read_text())
    deadline = time.monotonic() + 5
    while Path(f"/proc/{sleeper}/cmdline").exists() and Path(f"/proc/{sleeper}/cmdline").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_answers_order_by_order_and_stays_until_it_is_ended(program: Program, tmp_path: Path) -> None:
    python = program(
        """
        for n in 0 1; do
            read -r order; echo "{\\"done\\": {\\"result\\": $order}}"
        done
        exec sleep 60"""
    )
    with TorchChild(Torch(python, VERSIONS), tmp_path / "x.log") as one:
        assert [one.ask({"n": n}, 30) for n in (0, 1)] == [Answer({"n": 0}), Answer({"n": 1})]
        worker = one._worker
        assert worker
        assert worker.lives()
    assert not worker.lives()
    assert not worker._aside.path.exists()


def test_what_has_died_gives_a_reason_for_every_further_order(program: Program, tmp_path: Path) -> None:
    with TorchChild(Torch(program("echo no torch >&2; exit 7"), VERSIONS), tmp_path / "x.log") as one:
        reasons = {one.ask({"n": n}, 30).reason for n in (0, 1)}
    assert reasons == {"the child with torch ended with 7: no torch"}


def test_a_python_that_does_not_start_is_a_reason(tmp_path: Path) -> None:
    assert "the child with torch failed" in answered(tmp_path / "nothing", tmp_path).reason


def test_without_torch_nothing_is_started(tmp_path: Path) -> None:
    answer = compare(Torch(tmp_path, reason=NOT_INSTALLED), tmp_path, tmp_path, tmp_path / "x.log")
    assert answer == Answer(None, NOT_INSTALLED)
    assert not (tmp_path / "x.log").exists()


def test_another_python_gets_no_token_no_network_and_this_package_alone(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    python = program('exec >&2; env; ls "$5"; echo "in $5/mlx_publish: $(ls "$5/mlx_publish/__init__.py")"')
    answered(python, tmp_path)
    said = (tmp_path / "logs/x.log").read_text()
    assert "secret" not in said
    assert "HF_HUB_OFFLINE=1" in said
    assert "PYTHONPATH" not in said
    assert said.splitlines()[-2] == "mlx_publish"
    assert said.splitlines()[-1].endswith("/package/mlx_publish/__init__.py")


def test_the_user_may_name_another_python(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    python = program(f"echo '{json.dumps(VERSIONS)}'")
    monkeypatch.setenv(VARIABLE, str(python))
    assert find_torch() == Torch(python, VERSIONS)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("exit 1", f"a python (from {VARIABLE}) does not have torch and transformers"),
        ('echo \'{"torch": "2.5.0", "transformers": "4.57.6"}\'', "transformers 4.57.6 is too old: 5 is needed"),
        ("echo hello", f"{VARIABLE} is not a Python: "),
        (None, f"{VARIABLE} is not a Python: "),
    ],
)
def test_a_python_that_will_not_do_is_a_reason(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, reason: str
) -> None:
    monkeypatch.setenv(VARIABLE, str(program(text) if text else tmp_path))
    assert reason in find_torch().reason


@pytest.mark.parametrize("missing", ["torch", "transformers"])
def test_without_both_packages_here_the_reason_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name != missing)
    assert find_torch().reason == NOT_INSTALLED


def test_with_both_packages_here_this_python_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(importlib.metadata, "version", VERSIONS.__getitem__)
    assert find_torch() == Torch(Path(sys.executable), VERSIONS)


def test_the_question_is_understood_by_a_real_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_PACKAGES", ("numpy", "pytest"))
    assert child._named(Path(sys.executable)).versions == {
        name: importlib.metadata.version(name) for name in ("numpy", "pytest")
    }


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "out of memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
            "out of memory",
        ),
        (ValueError("no\n class"), "transformers cannot compute it: ValueError: no class"),
        (KeyError(), "transformers cannot compute it: KeyError: KeyError"),
        (ValueError("x" * 1000), f"transformers cannot compute it: ValueError: {'x' * 300} ..."),
    ],
)
def test_what_transformers_raises_becomes_a_reason(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    @inside._reasons()
    def load(_: str) -> None:
        raise error

    monkeypatch.setattr(inside, "_load", load)
    assert inside.answer({"source": "", "logits": ""}) == {"reason": reason}


def test_a_fault_of_our_own_is_no_reason_of_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: str) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(inside, "_load", load)
    with pytest.raises(KeyError):
        inside.answer({"source": "", "logits": ""})


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    command = python("mlx_publish.torch_check")
    ended = subprocess.run(command, input=b"", timeout=30, check=False, capture_output=True)
    assert (ended.returncode, ended.stdout) == (1, b"")
