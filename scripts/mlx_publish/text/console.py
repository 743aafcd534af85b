"""What a person reads during a run. Text from elsewhere cannot command a terminal or a runner."""

from __future__ import annotations

import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from mlx_publish.text.harmless import harmless, plain


class Statement(Protocol):
    """What a console prints of the finding of a check: `evidence.report.Finding`."""

    @property
    def id(self) -> str:
        """The id of the check."""

    @property
    def status(self) -> str:
        """One of `pass`, `fixed`, `warn`, `fail` and `skip`."""

    @property
    def message(self) -> str:
        """The fact, and why it matters."""

    @property
    def remedy(self) -> str:
        """The next step; empty where there is none."""


_MARKS = {"pass": "ok", "fixed": "fixed", "warn": "warn", "fail": "FAIL", "skip": "skip"}
WIDTH, NARROW = 100, 60
"""Characters of a line: at most, where no terminal says less, and at least."""


def width() -> int:
    """Return the characters of a line on this terminal; in a log the most."""
    return min(WIDTH, max(NARROW, shutil.get_terminal_size((WIDTH, 24)).columns))


@contextmanager
def titled(out: TextIO, title: str) -> Iterator[None]:
    """Begin a part of the log by a line of its own."""
    print(title, file=out, flush=True)
    yield


@dataclass
class Console:
    """Writes lines, of which none can command a runner."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    group: Callable[[TextIO, str], AbstractContextManager[None]] = titled
    """Begins a part of the log that a runner folds, where there is one."""

    def heading(self, stage: str, name: str) -> None:
        """Begin a stage of a variant."""
        self._line(f"{stage}  {name}")

    @contextmanager
    def section(self, stage: str, name: str, *, folded: bool) -> Iterator[None]:
        """Begin a stage of a variant, whose findings follow; in a runner's log they are folded where all is well."""
        title = " ".join(harmless(plain(f"{stage}  {name}")).split("\n"))
        with (self.group if folded else titled)(self.out, title):
            yield

    def say(self, text: str) -> None:
        """Print indented lines."""
        for line in plain(text).splitlines() or [""]:
            self._line(f"  {line}")

    def quote(self, text: str) -> None:
        """Print text of a model, behind a bar and folded."""
        for paragraph in plain(text).splitlines() or [""]:
            for line in textwrap.wrap(paragraph, width() - 6) or [""]:
                self._line(f"    | {line}")

    def progress(self, text: str) -> None:
        """Print what is being done now."""
        self._line(f"  ... {plain(text)}")

    @contextmanager
    def busy(self, what: str, every: float = 30) -> Iterator[None]:
        """Print every so many seconds that `what` still goes on, for a log that nobody else writes into."""
        done, start = threading.Event(), time.monotonic()

        def tell() -> None:
            while not done.wait(every):
                self.progress(f"still at {what}, for {time.monotonic() - start:.0f} s")

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            yield
        finally:
            done.set()
            teller.join()

    def finding(self, finding: Statement) -> None:
        """Print the finding of a check: status, id, message and remedy."""
        lines = textwrap.wrap(plain(finding.message), width() - 27) or [""]
        self._line(f"  {_MARKS[finding.status]:5} {finding.id:18} {lines[0]}")
        for line in lines[1:]:
            self._line(f"  {'':24} {line}")
        if finding.remedy and finding.status in ("fail", "warn"):
            for line in textwrap.wrap(f"Next: {plain(finding.remedy)}", width() - 27):
                self._line(f"  {'':24} {line}")

    def _line(self, text: str) -> None:
        print(harmless(text), file=self.out, flush=True)
