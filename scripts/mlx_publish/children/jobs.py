"""Run a job of the engine in a child process, so that a crash of Metal is not ours.

What the child prints goes to a log, because a model's text must not be taken for ours.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlx_publish.children.engine import DEFAULT, Asked, Children, threads
from mlx_publish.children.limits import GARBLED, OUT_OF_MEMORY, STOPPED, TOO_LONG, TOO_SLOW
from mlx_publish.children.serving import INTERRUPTED
from mlx_publish.children.worker import Bounds, Ended
from mlx_publish.errors import BadInput, Bug, Interrupted, Place, PublishError, Refused, SurroundingsError, by_words
from mlx_publish.text import kit
from mlx_publish.text.progress import Step, Tell, from_plain

__all__ = ["Bounds", "Job", "Progress", "run_job", "run_jobs"]

Progress = Tell
_SIGNALS = 0.5
"""Seconds that a wait for jobs lasts at most before signals are looked at."""
_LEAST_JOBS = 2
"""Of one child side by side with others: to load MLX takes as long as many a job."""


@dataclass(frozen=True)
class Job:
    """One call of the engine: what to do, its arguments as plain data, where its log goes, its bounds."""

    op: str
    arguments: Mapping[str, object]
    log: Path
    bounds: Bounds = field(default_factory=Bounds)
    children: Children | None = None
    """Those of the run, of which one may do it; else a child is started for this job alone."""
    label: str = ""
    """The variant that it is about, which its progress names."""
    model: str = ""
    """The folder of the converted model that it asks, if it asks one."""
    keeps: bool = False
    """Whether the child waits with this model in memory for another job with it."""

    @property
    def asked(self) -> Asked:
        """What it needs of a child."""
        return Asked(self.op, self.model, self.keeps)

    def heard(self, data: object) -> str | Step:
        """Return what the child tells of its progress, with the variant."""
        now = from_plain(data)
        step = now if isinstance(now, Step) else Step(now)
        if not self.label or self.label in step.what.split():
            return now
        return replace(step, what=f"{self.label}: {step.what}")


def run_jobs(jobs: Sequence[Job], progress: Progress, *, at_once: int = 1) -> list[dict[str, Any]]:
    """Run jobs, at most `at_once` of them side by side, and return their results in order.

    Raises what the first failing job raises; no child is at work after it, nor after an interrupt.
    """
    at_once = min(at_once, max(2, -(-len(jobs) // _LEAST_JOBS)))
    if at_once == 1:
        return [run_job(job, progress) for job in jobs]
    stop = threading.Event()
    with ThreadPoolExecutor(at_once) as pool:
        try:
            futures = [pool.submit(run_job, job, progress, at_once, stop) for job in jobs]
            pending = set(futures)
            while pending:
                # A signal that comes just before Python begins to wait is handled when it has waited.
                done, pending = wait(pending, timeout=_SIGNALS, return_when=FIRST_COMPLETED)
                for future in done:  # the first that fails ends the others, whichever it is
                    future.result()
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            raise


def run_job(job: Job, progress: Progress, at_once: int = 1, stop: threading.Event | None = None) -> dict[str, Any]:
    """Run one job. After a child that was killed by a signal it is tried once more: Metal sometimes fails so.

    Raises `Refused`, `BadInput`, `SurroundingsError` or `Bug` as the child says, `SurroundingsError` if MLX is missing,
    where the child died or took longer than its bounds, `Refused` if it took more memory, and `Interrupted` once
    `stop` is set.
    """
    if job.children is None:
        with Children() as own:
            return run_job(replace(job, children=own), progress, at_once, stop)
    if not job.children.possible():
        module = job.children.converter
        raise SurroundingsError(
            f"{job.op} needs {module.replace('_', '-')}, which is not installed here",
            remedy=kit.install("mlx" if module == DEFAULT else "vision"),
        )
    try:
        return _answer(job, job.children, progress, at_once, stop)
    except Ended as end:
        if end.code >= 0:
            raise _died(end, job) from None
        progress(Step(f"{job.op} was killed by signal {-end.code}; retrying", stays=True))
    try:
        return _answer(job, job.children, progress, at_once, stop)
    except Ended as end:
        raise _died(end, job) from None


def _answer(
    job: Job, children: Children, progress: Progress, at_once: int, stop: threading.Event | None
) -> dict[str, Any]:
    """Give a child one job. Only a child that did its job well waits for another one."""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    job.log.write_bytes(b"")
    worker, good, held = children.take(job.asked, at_once, job.log), False, ""
    try:
        order = {
            "op": job.op,
            "arguments": job.arguments,
            "log": str(job.log),
            "threads": threads(at_once),
            "converter": children.converter,
            "model": job.model,
            "keeps": job.keeps,
        }
        answer = worker.do(order, job.bounds, lambda now: progress(job.heard(now)), stop)
        good, held = bool(answer["again"]), str(answer.get("holds", ""))
        return _unpack(answer, job)
    finally:
        if good:
            children.keep(job.asked, worker, held)
        else:
            worker.end()


def _unpack(answer: Mapping[str, Any], job: Job) -> dict[str, Any]:
    if answer["ok"]:
        return dict(answer["result"])
    message, remedy = answer["message"], answer["remedy"] or f"See the log: {job.log}."
    kinds: dict[str, type[PublishError]] = {"Refused": Refused, "SurroundingsError": SurroundingsError}
    if answer["kind"] == "Refused":
        raise Refused(message, check=answer["check"], place=Place(*answer["place"]), remedy=remedy)
    if answer["kind"] == "BadInput" and answer["place"][0]:  # of a file that a recipe names
        raise BadInput(message, place=Place(*answer["place"]), key=answer["key"], remedy=remedy)
    raise kinds.get(answer["kind"], Bug)(message, remedy=remedy)


def _died(end: Ended, job: Job) -> PublishError:
    log = f"See the log: {job.log}."
    if end.code in (-signal.SIGINT, INTERRUPTED, STOPPED):
        return Interrupted(f"{job.op} was {'stopped with the others' if end.code == STOPPED else 'interrupted'}")
    if end.code == TOO_SLOW:
        return SurroundingsError(f"{job.op} was stopped after {job.bounds.seconds:.0f} s", remedy=log)
    if end.code == OUT_OF_MEMORY:
        most = job.bounds.memory_bytes or 0
        return Refused(
            f"{job.op} took {end.held >> 20:,} MB of memory; a model of this size needs {most >> 20:,} MB at most",
            check="memory-bounded",
            remedy=f"Check its tokenizer and its config. {log}",
        )
    return _died_itself(end.code, job, log)


def _died_itself(code: int, job: Job, log: str) -> PublishError:
    lines = job.log.read_text(errors="replace").strip().splitlines()[-1:]
    words = f": {lines[0]}" if lines else ""
    if code < 0:
        return SurroundingsError(
            f"{job.op} was killed by signal {-code} twice{words}",
            remedy=f"Out of memory or a GPU fault; close other programs and run again. {log}",
        )
    how = {TOO_LONG: "wrote more than a result can contain", GARBLED: "did not write a valid result"}
    return by_words(words) or Bug(
        f"{job.op} {how.get(code, f'exited with code {code} and no result{words}')}", remedy=log
    )
