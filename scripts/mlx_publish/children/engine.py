"""The children of the engine: their surroundings, and those that wait for a job.

To load MLX takes seconds. So a child is kept after its job, and one may be started ahead of the first: the parent has
better use for that time, as the digests of a source.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_publish.children import process
from mlx_publish.children.environment import fast_blas, kernels, of_a_child
from mlx_publish.children.worker import Worker
from mlx_publish.text.temporary import TemporaryFolder

if TYPE_CHECKING:
    from typing_extensions import Self

# What the parent and its child have to see alike: how much memory is ours, which BLAS, and what the user preloads.
_KEPT = ("MLX_PUBLISH_MEMORY_BYTES", "MLX_PUBLISH_BLAS", "LD_PRELOAD")
MEASURING = frozenset({"benchmark"})
"""Operations whose process does nothing else, for its memory is a result, and beside which none waits."""
DEFAULT = "mlx_lm"
"""The module of `engine/backends` by which jobs are done where no other one is chosen."""
MOST_KEPT_BYTES = 1 << 30
"""Memory with which a child may wait for its next job. Libraries alone take a third of it."""


class Children:
    """Children that wait for a job. Those that are at work belong to whoever took them."""

    def __init__(self) -> None:
        """Begin without any."""
        self.converter = DEFAULT
        """The module of `engine/backends` by which jobs are done."""
        self._waiting: list[tuple[bool, Worker]] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self, op: str) -> None:
        """Start one ahead for `op`, unless MLX is missing: whoever needs it says so at its time."""
        if not self._waiting and importlib.util.find_spec(self.converter) is not None:
            self.keep(op, _start(op, 1, None))

    def take(self, op: str, at_once: int, log: Path) -> Worker:
        """Return a child for a job of `op`: one that waits, else a new one, which prints to `log`."""
        measures = op in MEASURING
        with self._lock:
            fit = [worker for kind, worker in self._waiting if kind == measures]
            passed = [worker for kind, worker in self._waiting if kind != measures] if measures else []
            self._waiting = [pair for pair in self._waiting if pair[1] not in passed]
            taken = None
            while fit and taken is None:
                worker = fit.pop(0)
                self._waiting.remove((measures, worker))
                if worker.lives() and worker.held() <= MOST_KEPT_BYTES:
                    taken = worker
                else:
                    passed.append(worker)
        for worker in passed:
            worker.end()
        return taken or _start(op, at_once, log)

    def keep(self, op: str, worker: Worker) -> None:
        """Let one wait that has done a job of `op`."""
        with self._lock:
            self._waiting.append((op in MEASURING, worker))

    def end(self) -> None:
        """End all that wait."""
        while self._waiting:
            self._waiting.pop()[1].end()


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


def _start(op: str, at_once: int, log: Path | None) -> Worker:
    aside = TemporaryFolder()
    words = process.python("mlx_publish.engine", op)
    return Worker(aside, words, environment(aside.path, at_once), log or aside.path / "log")
