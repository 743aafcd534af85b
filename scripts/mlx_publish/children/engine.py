"""The children of the engine: their surroundings, and those that wait for a job.

To load MLX takes seconds. So a child is kept after its job, and one may be started ahead of the first: the parent has
better use for that time, as the digests of a source. A child may wait with the model that it has loaded; it then does
jobs with this model alone.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_publish.children import process
from mlx_publish.children.environment import fast_blas, kernels, of_a_child
from mlx_publish.children.other_python import Python, package_in
from mlx_publish.children.worker import Worker
from mlx_publish.text.temporary import TemporaryFolder

if TYPE_CHECKING:
    from typing_extensions import Self

# What the parent and its child have to see alike: how much memory is ours, which BLAS, and what the user preloads.
_KEPT = ("MLX_PUBLISH_MEMORY_BYTES", "MLX_PUBLISH_BLAS", "LD_PRELOAD")
MEASURING = frozenset({"benchmark"})
"""Operations whose process asks one model and has done nothing else, for its memory is a result.

Beside them none waits but those with a model.
"""
PEAK_ANEW = os.access("/proc/self/clear_refs", os.W_OK)
"""Whether the system can count the most memory of a process anew; macOS knows only that of its whole life."""
DEFAULT = "mlx_lm"
"""The module of `engine/backends` by which jobs are done where no other one is chosen."""
MOST_KEPT_BYTES = 1 << 30
"""Memory with which a child without a model may wait for its next job. Libraries alone take a third of it."""


@dataclass(frozen=True)
class Asked:
    """What a job needs of a child: the folder of the model that it asks, and whether the child keeps that model."""

    op: str
    model: str = ""
    keeps: bool = False

    @property
    def measures(self) -> bool:
        """Whether the memory of the process is a result."""
        return self.op in MEASURING

    @property
    def clean(self) -> bool:
        """Whether the child must have done nothing but ask models, because it measures or may measure later."""
        return self.measures or (self.keeps and PEAK_ANEW)


@dataclass(frozen=True)
class _Waiting:
    worker: Worker
    clean: bool
    """Whether it has done nothing but ask models."""
    model: str = ""
    """The folder whose model it has loaded; empty for none."""

    def fits(self, asked: Asked) -> bool:
        """Return whether it may do a job."""
        if self.model:
            return self.model == asked.model and (self.clean or not asked.clean)
        return self.clean == asked.clean

    def goes(self, asked: Asked) -> bool:
        """Return whether it must not be there while a job is done."""
        return asked.measures and not (self.model and self.clean)

    def able(self) -> bool:
        """Return whether it can do another job."""
        return self.worker.lives() and (bool(self.model) or self.worker.held() <= MOST_KEPT_BYTES)


class Children:
    """Children that wait for a job. Those that are at work belong to whoever took them."""

    def __init__(self) -> None:
        """Begin without any."""
        self.converter = DEFAULT
        """The module of `engine/backends` by which jobs are done."""
        self.python: Python | None = None
        """The Python that has the converter's library, where that is not this one."""
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self, op: str, count: int = 1) -> None:
        """Start children ahead for `count` jobs of `op`; where MLX is missing, whoever needs it says so at its time."""
        missing = count - sum(not (waiting.clean or waiting.model) for waiting in self._waiting)
        for _ in range(missing if self.possible() else 0):
            self.keep(Asked(op), self._start(op, count, None))

    def start_clean(self, op: str, count: int) -> None:
        """Start children ahead for `count` jobs of `op` side by side, each of which keeps its model."""
        missing = count - sum(waiting.clean and not waiting.model for waiting in self._waiting)
        for _ in range(missing if PEAK_ANEW and self.possible() else 0):
            self.keep(Asked(op, keeps=True), self._start(op, count, None))

    def take(self, asked: Asked, at_once: int, log: Path) -> Worker:
        """Return a child for a job, best of all the one that has loaded its model.

        Else it is one that waits, else a new one, which prints to `log`.
        """
        with self._lock:
            fit = sorted((one for one in self._waiting if one.fits(asked)), key=lambda one: not one.model)
            taken = next((one for one in fit if one.able()), None)
            tried = fit[: fit.index(taken)] if taken else fit
            others = [one for one in self._waiting if one is not taken]
            passed = [one for one in others if one in tried or one.goes(asked)]
            self._waiting = [one for one in others if one not in passed]
        for one in passed:
            one.worker.end()
        return taken.worker if taken else self._start(asked.op, at_once, log)

    def keep(self, asked: Asked, worker: Worker, model: str = "") -> None:
        """Let one wait that has done a job, with the model that it has loaded, if any."""
        with self._lock:
            self._waiting.append(_Waiting(worker, asked.clean, model))

    def possible(self) -> bool:
        """Return whether the converter's library is there."""
        return self.python is not None or importlib.util.find_spec(self.converter) is not None

    def use(self, converter: str, python: Python | None) -> None:
        """Let jobs be done by a converter, whose library is in `python` where that is not this one."""
        if (converter, python) != (self.converter, self.python):
            self.end()  # those that wait have loaded another library
        self.converter, self.python = converter, python

    def _start(self, op: str, at_once: int, log: Path | None) -> Worker:
        aside = TemporaryFolder()
        words = process.python("mlx_publish.engine", op)
        if self.python is not None and self.python.python != Path(sys.executable):
            words = process.python("mlx_publish.engine", op, executable=self.python.python, root=package_in(aside.path))
        return Worker(aside, words, environment(aside.path, at_once), log or aside.path / "log")

    def end(self) -> None:
        """End all that wait."""
        while self._waiting:
            self._waiting.pop().worker.end()


def threads(at_once: int) -> int:
    """Return how many threads a BLAS may have in one of `at_once` children side by side."""
    return max(1, (os.cpu_count() or 1) // at_once)


def environment(folder: Path, at_once: int) -> dict[str, str]:
    """Return the environment of a child with `folder` to itself: no network, a fast BLAS, kernels that MLX compiled."""
    kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
    kept |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRANSFORMERS_OFFLINE": "1"}
    kept["TOKENIZERS_PARALLELISM"] = "false"
    # CUDA's driver keeps what it compiles in HOME, which goes with the child.
    kept["CUDA_CACHE_PATH"] = str(kernels() / "cuda")
    if blas := fast_blas():
        kept["LD_PRELOAD"] = str(blas)
        kept["OPENBLAS_NUM_THREADS"] = str(threads(at_once))
    child = of_a_child(folder, **kept)
    (folder / "tmp" / "mlx").symlink_to(kernels())
    return child
