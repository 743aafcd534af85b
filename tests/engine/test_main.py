"""The child process from inside: whatever happens, the parent gets an answer."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mlx_publish.chat.rendering import Rendered
from mlx_publish.children.jobs import Job, _unpack
from mlx_publish.engine import __main__ as inside
from mlx_publish.errors import BadInput, Bug, Place, PublishError, Refused, SurroundingsError, in_file


def tell(text: str) -> None:
    raise AssertionError(text)


@pytest.fixture
def operation(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Put a function in the place of an operation of the engine."""

    def put(function: Callable[..., Any]) -> None:
        module = ModuleType("mlx_publish.engine.fake")
        module.fake = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(inside.OPERATIONS, "fake", ("fake", "fake"))

    return put


def raises(error: BaseException) -> Callable[..., Any]:
    def run(**_: object) -> None:
        raise error

    return run


def ask(**arguments: Any) -> dict[str, Any]:
    return inside._answer({"op": "fake", "arguments": arguments}, tell)


def test_an_operation_gets_its_arguments_and_gives_its_result(operation: Any) -> None:
    operation(lambda folder, progress: {"folder": folder, "tells": progress.send is tell})
    assert ask(folder="x") == {"ok": True, "result": {"folder": "x", "tells": True}}


FULL_DISK = "the disk is full"
FULL_MEMORY = "out of memory"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (Refused("it cannot", check="converts", remedy="Wait."), Refused, "it cannot"),
        (SurroundingsError("no room"), SurroundingsError, "no room"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), SurroundingsError, FULL_DISK),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), SurroundingsError, FULL_DISK),
        (RuntimeError("[write] Unable to write 123 bytes to file."), SurroundingsError, FULL_DISK),
        (MemoryError(), SurroundingsError, FULL_MEMORY),
        (RuntimeError("[malloc] Unable to allocate 123 bytes."), SurroundingsError, FULL_MEMORY),
        (
            RuntimeError("[METAL] Command buffer execution failed: Insufficient Memory"),
            SurroundingsError,
            FULL_MEMORY,
        ),
        (
            RuntimeError("[METAL] Command buffer failed: Timeout"),
            SurroundingsError,
            "[METAL] Command buffer failed: Timeout",
        ),
        (
            ImportError("libcuda.so.1: cannot open shared object file: No such file or directory"),
            SurroundingsError,
            "MLX is installed for CUDA, and this machine has no NVIDIA driver",
        ),
        (RuntimeError("cudaMallocAsync failed: out of memory."), SurroundingsError, "the GPU is out of memory"),
        (OSError(errno.EIO, "Input/output error"), SurroundingsError, "[Errno 5] Input/output error"),
        (
            ModuleNotFoundError("No module named 'mlx'", name="mlx"),
            SurroundingsError,
            "No module named 'mlx': child processes ignore PYTHONPATH and user site-packages",
        ),
        (ModuleNotFoundError("No module named 'x'", name="x"), Bug, "ModuleNotFoundError: No module named 'x'"),
        (RuntimeError("shapes differ"), Bug, "RuntimeError: shapes differ"),
        (ZeroDivisionError("by zero"), Bug, "ZeroDivisionError: by zero"),
        (KeyError("layer"), Bug, "KeyError: 'layer'"),
        (BadInput("not here"), Bug, "not here"),
    ],
)
def test_every_error_arrives_at_the_parent_as_one_of_ours(
    operation: Any, error: Exception, kind: type[PublishError], words: str, tmp_path: Path
) -> None:
    operation(raises(error))
    answer = json.loads(json.dumps(ask()))
    assert answer["ok"] is False
    with pytest.raises(kind) as caught:
        _unpack(answer, Job("fake", {}, tmp_path / "log"))
    assert (type(caught.value), caught.value.message) == (kind, words)
    assert caught.value.remedy
    if isinstance(caught.value, Refused):
        assert caught.value.check == "converts"


def test_a_refusal_keeps_its_place_on_the_way_to_the_parent(operation: Any, tmp_path: Path) -> None:
    operation(raises(Refused("is broken", check="readable", place=in_file("tokenizer.json", 7))))
    with pytest.raises(Refused) as caught:
        _unpack(json.loads(json.dumps(ask())), Job("fake", {}, tmp_path / "log"))
    (fault,) = caught.value.faults
    assert (fault.place, fault.message, str(fault)) == (
        Place("tokenizer.json", 7),
        "is broken",
        "tokenizer.json:7: is broken",
    )


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), RuntimeError("[METAL] x")])
def test_the_trace_goes_to_the_log(operation: Any, error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    operation(raises(error))
    ask()
    log = capsys.readouterr().err
    assert "Traceback" in log
    assert str(error) in log


def test_an_interrupt_is_no_answer(operation: Any) -> None:
    operation(raises(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        ask()


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Logs that were asked for; what holds for a whole process is left out."""
    logs: list[Path] = []
    monkeypatch.setattr(inside, "_print_to", logs.append)
    monkeypatch.setattr(inside, "give", lambda _: None)
    monkeypatch.setattr("mlx_publish.engine.prompts.forbid", lambda: None)
    return logs


def test_a_job_is_told_and_answered(operation: Any, quiet: list[Path]) -> None:
    def run(text: str, progress: Callable[[str], None]) -> dict[str, str]:
        progress("half way")
        return {"text": text}

    operation(run)
    messages: list[str] = []
    order = {
        "op": "fake",
        "arguments": {"text": "ü"},
        "log": "fake.log",
        "threads": 1,
        "converter": "mlx_lm",
        "model": "",
        "keeps": False,
    }
    assert inside.do(order, messages.append) == {"ok": True, "result": {"text": "ü"}, "again": True, "holds": ""}
    assert (messages, quiet) == (["half way"], [Path("fake.log")])


def test_after_a_job_that_failed_there_is_no_other_one(operation: Any, quiet: list[Path]) -> None:
    operation(raises(ValueError()))
    assert (
        inside.do(
            {
                "op": "fake",
                "arguments": {},
                "log": "x",
                "threads": 1,
                "converter": "mlx_lm",
                "model": "",
                "keeps": False,
            },
            tell,
        )["again"]
        is False
    )


def test_the_next_job_finds_the_process_as_the_first_one_did() -> None:
    import mlx.core as mx  # noqa: PLC0415, TID251
    from transformers.utils import logging  # noqa: PLC0415, TID251

    from mlx_publish.engine import prompts  # noqa: PLC0415
    from mlx_publish.engine.leaving import leave  # noqa: PLC0415

    device = mx.default_device()
    mx.set_default_device(mx.cpu)
    prompts._known["x"] = Rendered("x", None, "text")
    logger = logging.get_logger("transformers.x")
    logger.warning_once("once")
    mx.eval(mx.zeros(1 << 20))
    leave()
    assert mx.default_device() == device
    assert not prompts._known
    assert mx.get_cache_memory() == 0
    assert logging.warning_once.cache_info().currsize == 0
