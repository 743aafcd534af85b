"""One child process of the engine: its folder, its surroundings, its start and its end.

A child may be started ahead of its job: it loads the modules of its operation and then waits. That takes a second,
which the parent has better use for, as the digests of a source.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_publish.children import process
from mlx_publish.children.environment import fast_blas, of_a_child
from mlx_publish.children.private import kernels
from mlx_publish.text.temporary import TemporaryFolder

if TYPE_CHECKING:
    from typing_extensions import Self

# What the parent and its child have to see alike: how much memory is ours, which BLAS, and what the user preloads.
_KEPT = ("MLX_PUBLISH_MEMORY_BYTES", "MLX_PUBLISH_BLAS", "LD_PRELOAD")


class Child:
    """A process that does one job, `order` or what `give` hands over, leaves its answer in its folder and ends."""

    def __init__(self, op: str, at_once: int, order: Mapping[str, Any] | None = None, log: Path | None = None) -> None:
        """Start one of `at_once` side by side. What it prints goes to `log`, before it has one to its own folder.

        That temporary folder is its only other channel.
        """
        self._aside = TemporaryFolder()
        self._folder = Path(self._aside.name)
        if order is not None and log is not None:
            self.give(order, log)
        with (log or self._folder / "log").open("wb") as file:
            command = process.python("mlx_publish.engine", self._folder, str(os.getpid()), op)
            self.process = process.start(command, environment(self._folder, at_once), self._folder, file)

    def give(self, order: Mapping[str, Any], log: Path) -> None:
        """Hand the job over, whole or not at all; from now on it prints to `log`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")
        aside = self._folder / "job.new"
        aside.write_text(json.dumps({**order, "log": str(log)}))
        aside.replace(self._folder / "job.json")

    def says(self) -> str:
        """What it is doing, in its own words; empty where it said nothing yet."""
        said = self._folder / "progress"
        return said.read_text() if said.exists() else ""

    def answer(self) -> dict[str, Any] | None:
        """What it answered, or None where it ended without an answer."""
        path = self._folder / "result.json"
        found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
        return found

    def end(self) -> None:
        """End it with all that it started; nothing stays of its folder."""
        process.end(self.process)
        self._aside.cleanup()


class Children:
    """Children that were started ahead of their jobs; those that nobody took are ended."""

    def __init__(self) -> None:
        """Begin without any."""
        self._waiting: dict[str, Child] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self, op: str) -> None:
        """Start one for `op`, unless MLX is missing: whoever needs it says so at its time."""
        if op not in self._waiting and importlib.util.find_spec("mlx_lm") is not None:
            self._waiting[op] = Child(op, 1)

    def take(self, op: str) -> Child | None:
        """Hand one over to a job, once."""
        return self._waiting.pop(op, None)

    def end(self) -> None:
        """End all that were not taken."""
        while self._waiting:
            self._waiting.popitem()[1].end()


def environment(folder: Path, at_once: int) -> dict[str, str]:
    """The environment of a child with `folder` to itself: no network, a fast BLAS, kernels that MLX compiled before."""
    kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
    kept |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TRANSFORMERS_OFFLINE": "1"}
    kept["TOKENIZERS_PARALLELISM"] = "false"
    if blas := fast_blas():
        kept["LD_PRELOAD"] = str(blas)
        kept["OPENBLAS_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // at_once))
    found = of_a_child(folder, **kept)
    (folder / "tmp" / "mlx").symlink_to(kernels())
    return found
