"""One line of progress: it lives at the end of a terminal; a log gets a line every half minute instead."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mlx_publish.text.colour import FAINT, HEADING, Palette
from mlx_publish.text.door import Door
from mlx_publish.text.harmless import harmless, plain
from mlx_publish.text.progress import Step, clock

_FRAME = 0.2
"""Seconds between two pictures of the line."""
_TURNING = "|/-\\"


@dataclass
class _Pace:
    """How a piece of work goes: several may go on side by side."""

    since: float
    before: int
    """What was done of it when it was first heard of."""
    until: float = 0.0
    """When it will probably be done, by what was done so far; 0 where nothing can be said."""

    def hear(self, step: Step, instant: float) -> None:
        """Foresee the end."""
        done, rest = step.done - self.before, step.total - step.done
        self.until = instant + (instant - self.since) * rest / done if done > 0 else 0.0


@dataclass
class _Work:
    """Something that takes time, and what is being done of it now."""

    title: str
    begun: float = field(default_factory=time.monotonic)
    now: Step = field(default_factory=lambda: Step(""))
    paces: dict[str, _Pace] = field(default_factory=dict)

    def hear(self, step: Step) -> bool:
        """Take the next step; return whether it is the first of its work."""
        new, instant = step.what not in self.paces, time.monotonic()
        self.paces.setdefault(step.what, _Pace(instant, step.done)).hear(step, instant)
        self.now = step
        return new

    def fields(self) -> list[str]:
        """Return what is done, amount, share and time left, the most important first."""
        now, instant = self.now, time.monotonic()
        pace = self.paces.get(now.what, _Pace(instant, 0))
        known = pace.until > instant and instant - pace.since > 1
        timing = f"{clock(pace.until - instant)} left" if known else clock(instant - self.begun)
        return [part for part in (" ".join(plain(now.what).split()), now.share, now.amount, timing) if part]


class Live:
    """The line of progress of a console: on a `door` to a terminal it is drawn, else `tell` prints now and then."""

    def __init__(self, door: Door | None, palette: Palette, tell: Callable[[str], None]) -> None:
        """Begin with nothing to do."""
        self._door, self._palette, self._tell = door, palette, tell
        self._works: list[_Work] = []
        self._lock = threading.Lock()
        self._frame = 0

    @property
    def drawn(self) -> bool:
        """Whether the line is drawn now, so that steps need no lines of their own."""
        return self._door is not None and bool(self._works)

    def hear(self, step: Step) -> bool:
        """Take a step of the work that began last; return whether it begins other work than the step before."""
        with self._lock:
            if not self._works:
                return True
            return self._works[-1].hear(step)

    @contextmanager
    def busy(self, title: str, every: float) -> Iterator[None]:
        """Draw the line while `title` goes on, or print every so many seconds that it does."""
        work, done = _Work(title), threading.Event()
        with self._lock:
            self._works.append(work)
        look = self._draw if self._door else self._remind

        def watch() -> None:
            while not done.wait(_FRAME if self._door else every):
                look(work)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
            with self._lock:
                self._works.remove(work)
            if self._door:
                self._door.live("")

    def _remind(self, work: _Work) -> None:
        doing = f": {work.now}" if work.now.what else ""
        self._tell(f"still at {work.title}, for {time.monotonic() - work.begun:.0f} s{doing}")

    def _draw(self, work: _Work) -> None:
        with self._lock:
            if work is not self._works[-1]:
                return
            fields = work.fields()
        self._frame += 1
        columns = shutil.get_terminal_size((80, 24)).columns - 1
        text = fitting([f"{_TURNING[self._frame % len(_TURNING)]} {work.title}", *fields], columns)
        head, _, rest = harmless(text).partition("  ")
        assert self._door is not None  # noqa: S101  `busy` asks
        self._door.live(self._palette.paint(head, HEADING) + self._palette.paint(f"  {rest}" if rest else "", FAINT))


def fitting(parts: list[str], columns: int) -> str:
    """Return parts in one line of at most so many columns: the last ones go before the others are cut."""
    from rich.cells import cell_len, set_cell_size  # noqa: PLC0415  only a terminal needs it

    while len(parts) > 2 and cell_len("  ".join(parts)) > columns:
        parts = parts[:-1]
    line = "  ".join(parts)
    return line if cell_len(line) <= columns else set_cell_size(line, columns)
