"""Run the command line in the tests' own process, with children of the engine that stay from one command to the next.

To start Python and load the libraries takes ten times as long as what a command does with a tiny model. What a user's
environment decides is decided by it here too; what is about processes is still run in one of its own.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import close_session, constants
from huggingface_hub.utils import _http as http

from mlx_publish import cli
from mlx_publish.children import engine
from mlx_publish.children.environment import KEPT
from mlx_publish.children.other_python import Python
from mlx_publish.children.worker import Worker
from mlx_publish.hub import commit
from mlx_publish.machine import quiet
from mlx_publish.text.temporary import TemporaryFolder

STARTED_WITH = frozenset(
    {
        *(set(KEPT) - {"PATH"}),
        "LD_PRELOAD",
        "MLX_PUBLISH_BLAS",
        "MLX_PUBLISH_MEMORY_BYTES",
        "PYTHONPATH",
        "HF_OIDC_RESOURCE",
    }
)
"""Variables that a process has from its start, gives its children, or turns into what its libraries keep."""
WAITING = (http, commit, quiet)
"""Modules that wait before they ask a Hub once more, or measure once more."""


class Staying(engine.Children):
    """Children that wait for jobs of the next command too, each in a folder that belongs to no user."""

    def __init__(self) -> None:
        super().__init__()
        self._place = TemporaryFolder()
        self._others: dict[tuple[str, str], Any] = {}
        """Those that wait with another converter or in another Python, the latest last."""

    def use(self, converter: str, python: Python | None) -> None:
        """Put those of another converter aside, until it is used again; no more than of one."""
        if (converter, python) == (self.converter, self.python):
            return
        self._others[self._of()] = self._waiting
        self.converter, self.python = converter, python
        self._waiting = self._others.pop(self._of(), [])
        while len(self._others) > 1:
            for one in self._others.pop(next(iter(self._others))):
                one.worker.end()

    def _of(self) -> tuple[str, str]:
        return self.converter, str(self.python.python) if self.python else ""

    def start(self, op: str, count: int = 1) -> None:
        with temporary_files_in(self._place.path):
            super().start(op, count)

    def start_clean(self, op: str, count: int) -> None:
        with temporary_files_in(self._place.path):
            super().start_clean(op, count)

    def take(self, asked: engine.Asked, at_once: int, log: Path) -> Worker:
        with temporary_files_in(self._place.path):
            return super().take(asked, at_once, log)

    def end(self) -> None:
        """Let them wait, but for those that no other command has a job for."""
        for one in [waiting for waiting in self._waiting if waiting.model]:
            self._waiting.remove(one)
            one.worker.end()

    def end_all(self) -> None:
        """End them when the tests have ended."""
        super().end()
        for one in [one for waiting in self._others.values() for one in waiting]:
            one.worker.end()
        self._others.clear()


class Hasty:
    """The module `time` for those who wait for a Hub, which here is never busy."""

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / 20)


@cache
def staying() -> Staying:
    """Return those of this process."""
    return Staying()


def end() -> None:
    """End what was started for all tests."""
    if staying.cache_info().currsize:
        staying().end_all()
        staying.cache_clear()


@contextlib.contextmanager
def temporary_files_in(place: Path | None) -> Iterator[None]:
    """Let temporary files be made in a folder; None: in the one that the environment names."""
    before, tempfile.tempdir = tempfile.tempdir, None if place is None else str(place)
    try:
        yield
    finally:
        tempfile.tempdir = before


def run(words: Sequence[str], environment: Mapping[str, str], folder: Path) -> tuple[int, str, str]:
    """Run a command in `folder`; returns its exit code and what it printed to standard output and error."""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8") as err,
        surroundings(environment, folder),
    ):
        streams = sys.stdin, sys.stdout, sys.stderr
        with Path(os.devnull).open(encoding="utf-8") as nothing:
            sys.stdin, sys.stdout, sys.stderr = nothing, out, err
            try:
                code = cli.main(words)
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
            finally:
                sys.stdin, sys.stdout, sys.stderr = streams
        for stream in (out, err):
            stream.seek(0)
        return code, out.read(), err.read()


@contextlib.contextmanager
def surroundings(environment: Mapping[str, str], folder: Path) -> Iterator[None]:
    """Let this process have the environment of a user who stands in `folder`."""
    variables, here, children = dict(os.environ), Path.cwd(), engine.Children
    on_terminate = signal.getsignal(signal.SIGTERM)
    staying().use(engine.DEFAULT, None)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    engine.Children = staying  # type: ignore[misc, assignment]
    for module in WAITING:
        module.time = Hasty()  # type: ignore[attr-defined]
    importlib.reload(constants)  # the client of the Hub reads its environment when it is imported
    try:
        with temporary_files_in(None), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries; in tests they are errors
            yield
    finally:
        close_session()
        engine.Children = children  # type: ignore[misc]
        for module in WAITING:
            module.time = time  # type: ignore[attr-defined]
        os.chdir(here)
        os.environ.clear()
        os.environ.update(variables)
        importlib.reload(constants)
        signal.signal(signal.SIGTERM, on_terminate)
