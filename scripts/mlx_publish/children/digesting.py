"""Digests of large files, taken by a child beside other work; its other side is `hashing`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.children.environment import of_a_child
from mlx_publish.children.hashing import CHANGED, mark_of
from mlx_publish.children.process import python
from mlx_publish.children.worker import Bounds, Ended, Worker
from mlx_publish.errors import SurroundingsError
from mlx_publish.text.temporary import TemporaryFolder

_OFTEN = 0.25
"""Seconds between two looks at how far it is."""
_AGAIN = "Run the same command again."


@dataclass(frozen=True)
class Large:
    """A file to digest: where it is, and what tells it from another one."""

    path: Path
    mark: tuple[int, ...]
    """Device, inode, size and time of the last change."""

    @classmethod
    def at(cls, path: Path) -> Large:
        """Return the file that is at `path` now."""
        return cls(path, mark_of(path.stat()))

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.mark[2]

    @property
    def is_there(self) -> bool:
        """Return whether this very file is still there."""
        try:
            return mark_of(self.path.stat()) == self.mark
        except OSError:
            return False


@dataclass(frozen=True)
class Digest:
    """The SHA-256 of a file in hex, and the time at which its entry (ctime) changed last.

    The time is None if it changed while the file was read: what is digested later is not known to be the same.
    """

    sha256: str
    ctime: int | None


class Changed(Exception):
    """A file changed while it was read."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} changed while it was being read")
        self.name = name


class Digesting:
    """Digests that are being taken, by the names of the files."""

    def __init__(self, files: Mapping[str, Large]) -> None:
        """Start the child, unless there is nothing to do."""
        self.files = files
        self.read = 0
        """Bytes that are digested by now."""
        self._stop = threading.Event()
        self._taken: Future[Mapping[str, Digest]] = Future()
        self._thread = threading.Thread(target=self._take, daemon=True)
        if files:
            self._aside = TemporaryFolder()
            self._thread.start()
        else:
            self._taken.set_result({})

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files.values())

    @property
    def done(self) -> bool:
        """Return whether `wait` returns, or raises, at once."""
        return self._taken.done()

    def wait(self, tell: Callable[[int], None] = lambda _: None) -> Mapping[str, Digest]:
        """Return the digests; `tell` takes how many bytes are read, now and then.

        Raises `Changed` if a file is not the one any more that was named, `SurroundingsError` if one cannot be read.
        """
        while True:
            try:
                return self._taken.result(_OFTEN)
            except NotYet:
                if self._taken.done():
                    raise
                tell(self.read)

    def end(self) -> None:
        """End the child; what was not digested by now never is."""
        self._stop.set()
        if self.files:
            self._thread.join()

    def _take(self) -> None:
        try:
            self._taken.set_result(self._answer())
        except BaseException as error:  # noqa: BLE001  it is raised where one waits
            self._taken.set_exception(error)

    def _answer(self) -> Mapping[str, Digest]:
        order = {"files": [[str(file.path), file.mark] for file in self.files.values()]}
        command, log = python("mlx_publish.children.hashing"), self._aside.path / "log"
        with Worker(self._aside, command, of_a_child(self._aside.path), log) as worker:
            try:
                answers = worker.do(order, Bounds(), self._count, self._stop)
            except Ended as end:
                raise self._died(end, log) from None
        return {name: self._digest(name, answer) for name, answer in zip(self.files, answers, strict=True)}

    def _count(self, size: int) -> None:
        self.read += size

    def _digest(self, name: str, answer: Mapping[str, object]) -> Digest:
        if (fault := answer.get("fault")) is not None:
            raise Changed(name) if fault == CHANGED else _unreadable(name, str(fault))
        before, after = _times(answer["times"])
        return Digest(str(answer["sha256"]), before if before == after else None)

    def _died(self, end: Ended, log: Path) -> Exception:
        """Say why there is no answer: a file that became shorter takes the child along, a broken disk as well."""
        if name := next((name for name, file in self.files.items() if not file.is_there), None):
            return Changed(name)
        names = ", ".join(list(self.files)[:3])
        if end.code < 0:
            return _unreadable(names, f"the process that took the digests was killed by signal {-end.code}")
        lines = log.read_text(errors="replace").strip().splitlines()[-1:]
        return _unreadable(names, f"the process that took the digests failed: {''.join(lines)[:300]}")


def _times(times: object) -> Sequence[int]:
    assert isinstance(times, list)  # noqa: S101  `hashing` answers so
    return times


def _unreadable(name: str, why: str) -> SurroundingsError:
    return SurroundingsError(f"{name} cannot be read: {why}", remedy=_AGAIN)
