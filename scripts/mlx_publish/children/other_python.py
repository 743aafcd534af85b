"""A child in another Python, which has packages that this one lacks; it answers one order after the other."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import mlx_publish
from mlx_publish.children import process
from mlx_publish.children.environment import of_a_child
from mlx_publish.children.limits import TOO_SLOW
from mlx_publish.children.worker import Bounds, Ended, Worker
from mlx_publish.text.temporary import TemporaryFolder

if TYPE_CHECKING:
    from typing_extensions import Self

_ASK = "import json; from importlib.metadata import version as v; print(json.dumps({n: v(n) for n in %r}))"


@dataclass(frozen=True)
class Python:
    """A Python that has certain packages, with their versions; or the `reason` for which there is none."""

    python: Path
    versions: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Answer:
    """What the child returns, plain data of a record of `evidence`, or the `reason` for which it does not."""

    result: Mapping[str, object] | None
    reason: str = ""


def packages_of(python: Path, packages: Sequence[str], variable: str) -> Python:
    """Ask a Python, which an environment variable names, for the versions of packages."""
    words = [str(python), "-I", "-c", _ASK % (tuple(packages),)]
    try:
        with TemporaryFolder() as folder:
            versions = process.ask(words, of_a_child(folder), folder, seconds=60)
        if versions.code:
            listed = " and ".join(filter(None, (", ".join(packages[:-1]), packages[-1])))
            return Python(python, reason=f"{python} (from {variable}) does not have {listed}")
        return Python(python, json.loads(versions.out))
    except (*process.FAILED, ValueError) as error:
        return Python(python, reason=f"{variable} is not a Python: {error}")


def package_in(folder: Path) -> Path:
    """Return a folder below that has this package alone: another Python finds nothing else of this one's packages."""
    root = folder / "package"
    root.mkdir()
    (root / "mlx_publish").symlink_to(Path(mlx_publish.__file__).resolve().parent)
    return root


class Child:
    """A child process that runs one of our modules in another Python; to load its libraries takes seconds."""

    def __init__(
        self,
        python: Python,
        module: str,
        called: str,
        environment: Callable[[TemporaryFolder], dict[str, str]],
        log: Path,
    ) -> None:
        """Remember what to start and what to call it; what it prints goes to `log`."""
        self._python, self._module, self._called = python, module, called
        self._environment, self._log = environment, log
        self._worker: Worker | None = None
        self._reason = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self) -> str:
        """Start it ahead of its first order. Returns why that is not possible; empty if it is."""
        if self._worker is not None or self._reason:
            return self._reason
        aside = TemporaryFolder()
        words = process.python(self._module, executable=self._python.python, root=package_in(aside.path))
        try:
            self._worker = Worker(aside, words, self._environment(aside), self._log)
        except OSError as error:
            aside.cleanup()
            self._reason = f"the child with {self._called} failed: {error}"
        return self._reason

    def ask(self, order: Mapping[str, object], limit: float) -> Answer:
        """Give an order and wait `limit` seconds for its answer; a child that took longer is ended."""
        if (reason := self.start()) or self._worker is None:
            return Answer(None, reason)
        try:
            return Answer(**{"result": None, **self._worker.do(order, Bounds(limit))})
        except Ended as end:
            self._reason = self._why(end.code, limit)
            self._worker.end()
            return Answer(None, self._reason)

    def end(self) -> None:
        """End it with all that it started; nothing stays of its folder."""
        if self._worker is not None:
            self._worker.end()

    def _why(self, code: int, limit: float) -> str:
        child = f"the child with {self._called}"
        if code == TOO_SLOW:
            return f"{child} timed out after {limit:g} seconds"
        if code == -signal.SIGKILL:
            return f"{child} was killed, most likely because memory ran out"
        how = f"died of signal {-code}" if code < 0 else f"ended with {code}"
        words = self._log.read_text(errors="replace").strip().rpartition("\n")[2][:300]
        return f"{child} {how}: {words or 'no output'}"
