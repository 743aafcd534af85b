"""Run a job of the engine in a child process, so that a crash of Metal is not ours.

The job goes in as one JSON file and comes back as another one; nothing else is a result. What the child
prints goes to a log, because a model's text must not be taken for ours.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx_publish
from mlx_publish.errors import Bug, Interrupted, PublishError, Refused, SurroundingsError

Progress = Callable[[str], None]
_HIDDEN = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_OIDC_RESOURCE",
    "HF_OIDC_ID_TOKEN",
    "GITHUB_TOKEN",
    "GH_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "ACTIONS_RUNTIME_TOKEN",
)
_BLAS = ("openblas-pthread/libopenblas.so.0", "openblas-openmp/libopenblas.so.0", "libopenblas.so.0")


@dataclass(frozen=True)
class Job:
    """One call of the engine: what to do, its arguments as plain data, where its log goes, its time limit in s."""

    op: str
    arguments: Mapping[str, Any]
    log: Path
    limit: float = 6 * 3600


def run_jobs(jobs: Sequence[Job], progress: Progress, *, at_once: int = 1) -> list[dict[str, Any]]:
    """Run jobs, `at_once` of them side by side, and return their results in order.

    Raises what the first failing job raises; no child outlives it, nor an interrupt.
    """
    if at_once == 1:
        return [run_job(job, progress) for job in jobs]
    stop = threading.Event()
    with ThreadPoolExecutor(at_once) as pool:
        try:
            futures = [pool.submit(run_job, job, progress, at_once, stop) for job in jobs]
            # The first that fails ends the others, whichever it is.
            for future in as_completed(futures):
                future.result()
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            raise


def run_job(job: Job, progress: Progress, at_once: int = 1, stop: threading.Event | None = None) -> dict[str, Any]:
    """Run one job. A child that was killed by a signal is started once more: Metal sometimes fails so.

    Raises `Refused`, `SurroundingsError` or `Bug` as the child says, `SurroundingsError` where MLX is missing,
    where the child died or took longer than its limit, and `Interrupted` once `stop` is set.
    """
    if importlib.util.find_spec("mlx_lm") is None:
        raise SurroundingsError(
            f"{job.op} needs mlx-lm, which is not installed here", remedy="pip install 'mlx-publish[mlx]'"
        )
    for attempt in (1, 2):
        code, answer = _run_once(job, progress, at_once, stop or threading.Event())
        if answer is not None:
            return _unpack(answer, job)
        if code >= 0 or attempt == 2:
            break
        progress(f"{job.op} died of signal {-code}; once more")
    raise _died(code, job)


def side_by_side(count: int, bytes_each: int) -> int:
    """How many jobs may run at once: on Metal one, on the CPU as many as cores and memory allow."""
    if platform.system() == "Darwin":
        return 1
    fitting = int(0.6 * memory_bytes() // max(bytes_each, 1))
    return max(1, min(count, os.cpu_count() or 1, fitting))


def memory_bytes() -> int:
    """Memory of this machine in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def fast_blas() -> Path | None:
    """Return OpenBLAS where Linux has it: a hundred times as fast as what MLX's wheel brings along.

    `MLX_PUBLISH_BLAS` names another library, or none where it is empty.
    """
    if platform.system() != "Linux" or os.environ.get("LD_PRELOAD"):
        return None
    if (chosen := os.environ.get("MLX_PUBLISH_BLAS")) is not None:
        return Path(chosen) if chosen and Path(chosen).exists() else None
    places = (Path("/usr/lib") / f"{platform.machine()}-linux-gnu", Path("/usr/lib64"), Path("/usr/lib"))
    return next((place / name for place in places for name in _BLAS if (place / name).exists()), None)


def _run_once(job: Job, progress: Progress, at_once: int, stop: threading.Event) -> tuple[int, dict[str, Any] | None]:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mlx-publish-") as name, job.log.open("wb") as log:
        folder = Path(name)
        order = {"op": job.op, "arguments": job.arguments, "parent": os.getpid()}
        (folder / "job.json").write_text(json.dumps(order))
        process = subprocess.Popen(
            [sys.executable, "-X", "utf8", "-m", "mlx_publish.engine", folder],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env=_environment(at_once), start_new_session=True,
        )  # fmt: skip
        try:
            code = _wait(process, job, functools.partial(_hand_on, folder / "progress", progress), stop)
        finally:
            _end(process)
        answer = folder / "result.json"
        return code, json.loads(answer.read_text()) if answer.exists() else None


def _wait(process: subprocess.Popen[bytes], job: Job, hand_on: Callable[[str], str], stop: threading.Event) -> int:
    """Wait for the end and hand on what the child says it is doing."""
    last, deadline = "", time.monotonic() + job.limit
    while True:
        try:
            return process.wait(timeout=0.1)
        except subprocess.TimeoutExpired:
            last = hand_on(last)
        if stop.is_set():
            raise Interrupted(f"{job.op} was ended with the others")
        if time.monotonic() > deadline:
            raise SurroundingsError(f"{job.op} was ended after {job.limit:.0f} s", remedy=f"Its log is {job.log}.")


def _hand_on(said: Path, progress: Progress, last: str) -> str:
    text = said.read_text() if said.exists() else ""
    if text and text != last:
        progress(text)
    return text or last


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the child with all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment(at_once: int) -> dict[str, str]:
    """The child's environment: no token, no network, this very package, a fast BLAS."""
    kept = {key: value for key, value in os.environ.items() if key not in _HIDDEN}
    root = str(Path(mlx_publish.__file__).parents[1])
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, (root, kept.get("PYTHONPATH"))))
    kept.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    kept["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if blas := fast_blas():
        kept["LD_PRELOAD"] = str(blas)
        kept["OPENBLAS_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // at_once))
    return kept


def _unpack(answer: Mapping[str, Any], job: Job) -> dict[str, Any]:
    if answer["ok"]:
        return dict(answer["result"])
    message, remedy = answer["message"], answer["remedy"] or f"Its log is {job.log}."
    kinds: dict[str, type[PublishError]] = {"Refused": Refused, "SurroundingsError": SurroundingsError}
    if answer["kind"] == "Refused":
        raise Refused(message, check=answer["check"], remedy=remedy)
    raise kinds.get(answer["kind"], Bug)(message, remedy=remedy)


def _died(code: int, job: Job) -> PublishError:
    if code in (-signal.SIGINT, 130):
        return Interrupted(f"{job.op} was interrupted")
    lines = job.log.read_text(errors="replace").strip().splitlines()[-1:]
    said = f": {lines[0]}" if lines else ""
    if code < 0:
        return SurroundingsError(
            f"{job.op} died twice of signal {-code}{said}",
            remedy=f"Out of memory or a fault of the GPU; close other programs and run again. Its log is {job.log}.",
        )
    return Bug(f"{job.op} ended with {code} and no result{said}", remedy=f"Its log is {job.log}.")
