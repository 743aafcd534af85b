"""The parent's side of a child: start it, give it one order after the other, hear it line by line, end it.

`serving` is the other side. Every line is JSON, `{"said": ...}` on the way and `{"done": ...}` at the end of an order.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mlx_publish.children import process
from mlx_publish.children.limits import GARBLED, OUT_OF_MEMORY, STOPPED, TOO_LONG, TOO_SLOW
from mlx_publish.text.bounds import CHILD
from mlx_publish.text.json_text import FaultyJson, parse
from mlx_publish.text.temporary import TemporaryFolder

if TYPE_CHECKING:
    from typing_extensions import Self

_TICK = 0.05  # seconds
_LOOK = 0.1 if process.LINUX else 2.0  # seconds between two looks at the memory: a file of the kernel, or a program
_PIECE = 1 << 20  # bytes


@dataclass(frozen=True)
class Bounds:
    """What an order may take: seconds, bytes of memory besides mapped files (None: not watched), bytes of its lines."""

    seconds: float = 6 * 3600
    memory_bytes: int | None = None
    written_bytes: int = CHILD.most_bytes


class Ended(Exception):
    """A child ended, or was ended, before its answer was complete; `held` are the bytes of memory that it had."""

    def __init__(self, code: int, held: int = 0) -> None:
        super().__init__(f"the child exited with code {code}")
        self.code, self.held = code, held


class Worker:
    """A child process that does one order after the other."""

    def __init__(
        self, aside: TemporaryFolder, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        """Start it at work in `aside`, which is its own and goes with it; what it prints goes to `log`."""
        self._aside = aside
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            self._process = process.start(command, environment, aside.path, file)
        for pipe in (self._orders, self._lines):
            os.set_blocking(pipe.fileno(), False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def lives(self) -> bool:
        """Return whether it could do an order."""
        return self._process.poll() is None

    def held(self) -> int:
        """Return the bytes of memory that it holds now."""
        return process.resident(self._process.pid)

    def do(
        self,
        order: Mapping[str, object],
        bounds: Bounds,
        hear: Callable[[Any], None] = lambda _: None,
        stop: threading.Event | None = None,
    ) -> Any:
        """Give an order and return its answer; what it says on the way goes to `hear`.

        Raises `Ended` where there is none within the bounds, or once `stop` is set. The child is then of no use.
        """
        for kind, value in self._messages(_Order(order, bounds, stop or threading.Event())):
            if kind == "done":
                return value
            hear(value)
        raise Ended(self._code())

    def end(self) -> None:
        """End it with all that it started; nothing stays of its folder."""
        process.end(self._process)
        self._aside.cleanup()

    @property
    def _orders(self) -> IO[bytes]:
        assert self._process.stdin is not None  # noqa: S101  `start` makes it
        return self._process.stdin

    @property
    def _lines(self) -> IO[bytes]:
        assert self._process.stdout is not None  # noqa: S101  `start` makes it
        return self._process.stdout

    def _messages(self, order: _Order) -> Iterator[tuple[str, Any]]:
        """Yield its messages, by kind, until it ends, while the order is on its way to it."""
        with selectors.PollSelector() as pipes:
            pipes.register(self._lines, selectors.EVENT_READ)
            pipes.register(self._orders, selectors.EVENT_WRITE)
            while True:
                order.judge(self._process.pid)
                ready = [key.fileobj for key, _ in pipes.select(_TICK)]
                if self._orders in ready and order.send(self._orders.fileno()):
                    pipes.unregister(self._orders)
                if self._lines in ready:
                    if not (piece := os.read(self._lines.fileno(), _PIECE)):
                        return
                    yield from order.take(piece)
                elif not self.lives():  # what it started may hold the pipe
                    yield from self._rest(order)
                    return

    def _rest(self, order: _Order) -> Iterator[tuple[str, Any]]:
        """Yield what it wrote between the last look at the pipe and its end."""
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self._lines.fileno(), _PIECE):
                yield from order.take(piece)

    def _code(self) -> int:
        with contextlib.suppress(process.TimedOut):
            return self._process.wait(1)
        process.end(self._process)
        return self._process.wait()


@dataclass
class _Order:
    """An order on its way, and the lines that came back of it."""

    order: Mapping[str, object]
    bounds: Bounds
    stop: threading.Event
    written: int = 0
    part: list[bytes] = field(default_factory=list)
    """Pieces of the line that is not complete."""

    def __post_init__(self) -> None:
        self.unsent = memoryview(json.dumps(self.order, default=dict).encode() + b"\n")
        self.deadline = time.monotonic() + self.bounds.seconds
        self.look = 0.0

    def judge(self, pid: int) -> None:
        """Raise `Ended` where a bound is passed."""
        if self.stop.is_set():
            raise Ended(STOPPED)
        if (now := time.monotonic()) > self.deadline:
            raise Ended(TOO_SLOW)
        if self.bounds.memory_bytes is not None and now > self.look:
            if (held := process.resident(pid)) > self.bounds.memory_bytes:
                raise Ended(OUT_OF_MEMORY, held)
            self.look = now + _LOOK

    def send(self, pipe: int) -> bool:
        """Write what the pipe takes; tell whether there is nothing left to do."""
        try:
            self.unsent = self.unsent[os.write(pipe, self.unsent) :]
        except BrokenPipeError:  # it has ended, and its code says how
            return True
        return not self.unsent

    def take(self, piece: bytes) -> Iterator[tuple[str, Any]]:
        """Yield the lines that are complete. Raises `Ended` where they are too much, or none of ours."""
        first, *more = piece.split(b"\n")
        self.part.append(first)
        for begun in more:
            line, self.part = b"".join(self.part), [begun]
            self.written += len(line) + 1
            self._judge_length(0)
            yield _read(line)
        self._judge_length(sum(map(len, self.part)))

    def _judge_length(self, more: int) -> None:
        if self.written + more > self.bounds.written_bytes:
            raise Ended(TOO_LONG)


def _read(line: bytes) -> tuple[str, Any]:
    try:
        ((kind, value),) = parse(line, CHILD).items()
    except (FaultyJson, ValueError, AttributeError):
        raise Ended(GARBLED) from None
    return kind, value
