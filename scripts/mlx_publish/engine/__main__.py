"""The inside of the engine's child: `python -m mlx_publish.engine OP` loads the modules of OP and does jobs."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from mlx_publish.children.engine import DEFAULT, MEASURING
from mlx_publish.children.gpu_faults import of_the_gpu
from mlx_publish.children.serving import Tell, serve
from mlx_publish.engine.cores import give
from mlx_publish.errors import PublishError, Refused, SurroundingsError, of_the_surroundings
from mlx_publish.evidence.records import to_json
from mlx_publish.text.progress import Paced

# Operation -> module of this room and its function; each takes plain data and gives plain data.
OPERATIONS = {
    "convert": ("convert", "convert"),
    "tokenizer": ("tokenizing", "tokenizer"),
    "chat": ("chatting", "chat"),
    "answers": ("answering", "answers"),
    "perceived": ("seeing", "perceived"),
    "slots": ("slots", "slots"),
    "reference": ("fidelity", "reference"),
    "compare": ("fidelity", "compare"),
    "curve": ("curve", "curve"),
    "gains": ("gain", "gains"),
    "logits": ("reference_logits", "logits"),
    "benchmark": ("speed", "benchmark"),
    "device": ("device", "device"),
    "sensitivity": ("sensitivity", "sensitivity"),
    "twin": ("twin", "twin"),
    "pixels": ("pixels", "pixels"),
    "drawn": ("twin_pictures", "pictures"),
    "adapter": ("adapter_fit", "adapter"),
    "differences": ("differences", "differences"),
    "drafter": ("drafter", "drafter"),
}

_HELD = "mlx_publish.engine.held"
_PANIC = "PanicException"
_READERS = ("/transformers/tokenization_", "/transformers/models/auto/tokenization_", "/mlx_lm/tokenizer_utils")
_SHOWN = 300
_NEEDED = frozenset({"mlx", "mlx_lm", "transformers", "tokenizers", "numpy", "huggingface_hub"})
_ON_THE_CPU = frozenset(
    {
        "tokenizer",
        "chat",
        "slots",
        "device",
        "convert",
        "logits",
        "twin",
        "drawn",
        "differences",
        "gains",
        "drafter",
        "adapter",
    }
)
"""Operations that begin without a GPU; a conversion checks it before the source is asked."""


def do(order: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Do one job and leave nothing of it in this process; `again` is whether it may do another one."""
    _print_to(Path(order["log"]))
    _load(order["op"], order["converter"])
    _let_go(order)
    measured = order["op"] not in MEASURING or _forget_peak()
    give(order["threads"])
    answer = _answer(order, tell)
    good = bool(answer["ok"]) and measured
    if good:
        from mlx_publish.engine.leaving import leave  # noqa: PLC0415  it imports MLX

        leave(keep=order["model"] if order["keeps"] else "")
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # the log is on a disk that may be full
            stream.flush()
    held = sys.modules.get(_HELD)
    return {**answer, "again": good, "holds": held.holds() if good and held else ""}


def _load(op: str, converter: str = DEFAULT) -> None:
    with contextlib.suppress(Exception):  # it comes up again, and is reported, when the job is done
        importlib.import_module("mlx_publish.engine.leaving")
        backends = importlib.import_module("mlx_publish.engine.backends")
        backends.use(converter)
        backends.backend()
        _module(op)
    if "mlx_publish.engine.prompts" in sys.modules:
        sys.modules["mlx_publish.engine.prompts"].forbid()


def _print_to(log: Path) -> None:
    """Send what this process and its libraries print to the job's log."""
    with log.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)


def _let_go(order: dict[str, Any]) -> None:
    """Let go of a model that the job does not ask, and of what a measurement of memory must not see."""
    if (held := sys.modules.get(_HELD)) is not None and held.holds():
        held.keep_only(order["model"])
        if order["op"] in MEASURING:
            held.pack_held()
        importlib.import_module("mlx_publish.engine.leaving").trim()


def _forget_peak() -> bool:
    """Begin to count the most memory that this process held anew; False if the system cannot."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return True
    return False


def _answer(job: dict[str, Any], tell: Tell) -> dict[str, Any]:
    try:
        # Where it cannot be imported here, that is said, and not taken for a model that it cannot build.
        importlib.import_module("mlx_publish.engine.backends").backend()
        run = getattr(_module(job["op"]), OPERATIONS[job["op"]][1])
        if job["op"] not in _ON_THE_CPU:
            from mlx_publish.engine.device import trusted  # noqa: PLC0415  it imports MLX

            trusted(Paced(tell))
        return {"ok": True, "result": to_json(run(progress=Paced(tell), **job["arguments"]))}
    except PublishError as error:
        return _failed(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001  the parent needs an answer to anything
        _log_trace()
        return _failed(_surroundings(error) or _of_tokenizer(error) or PublishError(_named(error)))
    except BaseException as error:
        _log_trace()
        if (refused := _of_tokenizer(error)) is None:
            raise
        return _failed(refused)


def _module(op: str) -> ModuleType:
    return importlib.import_module(f"mlx_publish.engine.{OPERATIONS[op][0]}")


def _log_trace() -> None:
    # The log is on the disk that may just have become full.
    with contextlib.suppress(OSError):
        traceback.print_exc()


def _failed(error: PublishError) -> dict[str, Any]:
    return {
        "ok": False,
        "kind": type(error).__name__,
        "message": error.message,
        "place": [error.place.name, error.place.line],
        "key": error.key,
        "remedy": error.remedy,
        "check": getattr(error, "check", ""),
    }


def _of_tokenizer(error: BaseException) -> PublishError | None:
    """Return a refusal for what a stranger's tokenizer makes its library do: an error of the library's, or its panic.

    It raises the bare class, or one that is no Exception; what breaks in the readers of transformers and mlx-lm, which
    build on it, follows from the files as well.
    """
    frames = traceback.extract_tb(error.__traceback__)
    reading = any(part in frame.filename.replace(os.sep, "/") for frame in frames for part in _READERS)
    if type(error) is not Exception and type(error).__name__ != _PANIC and not reading:
        return None
    return Refused(
        f"a library fails on the tokenizer: {_named(error)[:_SHOWN]}",
        check="tokenizer-tame",
        remedy="Check the tokenizer's files; they should not be loaded in this state.",
    )


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _surroundings(error: BaseException) -> PublishError | None:
    """Return what of the machine an error comes from: MLX raises RuntimeErrors for it, tokenizers a bare Exception."""
    text = str(error)
    full = "No space left on device" in text or "Disk quota exceeded" in text
    if full or "[write] Unable to write" in text:
        return SurroundingsError("the disk is full", remedy="Free space or take another --work folder; run again.")
    limited = None if isinstance(error, OSError | MemoryError) else of_the_surroundings(error)
    if (fault := of_the_gpu(text) or limited) is not None:
        return fault
    if isinstance(error, MemoryError) or "malloc" in text:
        return SurroundingsError("out of memory", remedy="Close other programs, then run again.")
    if isinstance(error, ModuleNotFoundError) and error.name in _NEEDED:
        return SurroundingsError(
            f"{text}: child processes ignore PYTHONPATH and user site-packages",
            remedy="Install mlx-publish with its extra mlx in a virtual environment.",
        )
    if isinstance(error, OSError):
        return SurroundingsError(text, remedy="Run the same command again.")
    return None


if __name__ == "__main__":
    # A low soft limit of open files is raised before mlx-lm, which wants 2048, lowers or misses it.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

    def ahead() -> None:
        """Use the time until the first job."""
        gc.disable()  # what is imported stays: looking through it takes a twentieth of the time, for nothing
        _load(sys.argv[1])
        gc.freeze()
        gc.enable()

    serve(do, ahead)
