"""How far a piece of work has come: what, how much of how much. Travels from a child as plain data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")
BYTES = "bytes"
PACE = 0.25
"""Seconds between two steps of the same work that a child tells."""


@dataclass(frozen=True)
class Step:
    """One step of a piece of work."""

    what: str
    done: int = 0
    total: int = 0
    """0 where the amount is not known."""
    unit: str = BYTES
    stays: bool = False
    """Whether it is a message to keep, as that something is tried again, and not the state of a moment."""

    def __str__(self) -> str:
        return f"{self.what}, {self.amount} ({self.share})" if self.total else self.what

    @property
    def amount(self) -> str:
        """`1.2 of 4.8 GB`, or `512 of 1,024 tokens`; empty where the total is not known."""
        if not self.total:
            return ""
        if self.unit != BYTES:
            return f"{self.done:,} of {self.total:,} {self.unit}"
        for name, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
            if self.total >= factor:
                return f"{self.done / factor:.1f} of {self.total / factor:.1f} {name}"
        return f"{self.done} of {self.total} bytes"

    @property
    def share(self) -> str:
        """The share done, as `25 %`; empty where the total is not known."""
        return f"{min(100, 100 * self.done // self.total)} %" if self.total else ""

    def plain(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


Tell: TypeAlias = "Callable[[str | Step], None]"
"""Takes what is being done now."""


def clock(seconds: float) -> str:
    """Return a duration as `0:07` or `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def from_plain(data: object) -> str | Step:
    """Return what `plain` was made from; a text for everything else."""
    if isinstance(data, Mapping):
        try:
            return Step(
                str(data["what"]), int(data["done"]), int(data["total"]), str(data["unit"]), stays=bool(data["stays"])
            )
        except (KeyError, TypeError, ValueError):
            return str(dict(data))
    return str(data)


@dataclass
class Paced:
    """Sends what a child tells as plain data, but not every step of a piece of work."""

    send: Callable[[object], None]
    pace: float = PACE
    _last: tuple[str, float] = field(default=("", 0.0))

    def __call__(self, now: str | Step) -> None:
        """Send a text, or a step where it is time for one."""
        if isinstance(now, str):
            self.send(now)
            return
        what, at = self._last
        instant = time.monotonic()
        if now.what == what and instant - at < self.pace and not now.stays:
            return
        self._last = now.what, instant
        self.send(now.plain())


def counted(pieces: Iterable[T], size: Callable[[T], int], tell: Tell, step: Step) -> Iterator[T]:
    """Yield pieces, and tell before them and after each how much of `step` is done."""
    done = step.done
    tell(step)
    for piece in pieces:
        yield piece
        done += size(piece)
        tell(Step(step.what, min(done, step.total), step.total, step.unit))
