"""Run a job of the engine in a child process, so that a crash of Metal is not ours.

The job goes in as one JSON file and comes back as another one; nothing else is a result. What the child
prints goes to a log, because a model's text must not be taken for ours.
"""

from __future__ import annotations

import importlib.util
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_publish.children.engine import Child
from mlx_publish.children.process import LINUX, TimedOut, resident
from mlx_publish.errors import Bug, Interrupted, PublishError, Refused, SurroundingsError, by_words

Progress = Callable[[str], None]
_LOOK = 0.1 if LINUX else 2.0  # seconds between two looks at the memory: a file of the kernel, or a program


@dataclass(frozen=True)
class Bounds:
    """What a job may take: seconds, and bytes of memory besides mapped files; None where that is not limited."""

    seconds: float = 6 * 3600
    memory_bytes: int | None = None


@dataclass(frozen=True)
class Job:
    """One call of the engine: what to do, its arguments as plain data, where its log goes, its bounds."""

    op: str
    arguments: Mapping[str, Any]
    log: Path
    bounds: Bounds = Bounds()
    child: Child | None = None
    """One that was started ahead for this op."""


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
    where the child died or took longer than its bounds, `Refused` where it took more memory, and `Interrupted` once
    `stop` is set.
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


def _run_once(job: Job, progress: Progress, at_once: int, stop: threading.Event) -> tuple[int, dict[str, Any] | None]:
    """One attempt; a child that was started ahead and has died meanwhile makes room for a new one."""
    order, child = {"op": job.op, "arguments": job.arguments}, job.child
    if child is not None and child.process.poll() is None:
        child.give(order, job.log)
    else:
        if child is not None:
            child.end()
        child = Child(job.op, at_once, order, job.log)
    try:
        return _wait(child, job, progress, stop), child.answer()
    finally:
        child.end()


def _wait(child: Child, job: Job, progress: Progress, stop: threading.Event) -> int:
    """Wait for the end and hand on what the child says it is doing."""
    last, deadline, look = "", time.monotonic() + job.bounds.seconds, 0.0
    while True:
        try:
            return child.process.wait(timeout=0.02)
        except TimedOut:
            if (said := child.says()) not in ("", last):
                progress(last := said)
        if stop.is_set():
            raise Interrupted(f"{job.op} was ended with the others")
        if (now := time.monotonic()) > deadline:
            said = f"{job.op} was ended after {job.bounds.seconds:.0f} s"
            raise SurroundingsError(said, remedy=f"Its log is {job.log}.")
        if job.bounds.memory_bytes and now > look:
            _stays_within(child, job, job.bounds.memory_bytes)
            look = now + _LOOK


def _stays_within(child: Child, job: Job, most: int) -> None:
    if (taken := resident(child.process.pid)) > most:
        raise Refused(
            f"{job.op} took {taken >> 20:,} MB of memory; a model of this size needs {most >> 20:,} MB at most",
            check="memory-bounded", remedy=f"Look at its tokenizer and its config. Its log is {job.log}.",
        )  # fmt: skip


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
    if limited := by_words(said):
        return limited
    return Bug(f"{job.op} ended with {code} and no result{said}", remedy=f"Its log is {job.log}.")
