"""What a person sees while it runs. Text from elsewhere cannot command a terminal or a runner."""

from __future__ import annotations

import re
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from mlx_publish.report import Finding

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_MARKS = {"pass": "ok", "fixed": "fixed", "warn": "warn", "fail": "FAIL", "skip": "skip"}
WIDTH = 100


def plain(text: str) -> str:
    """Make text safe to show: no control characters, so no colours, no cursor moves, no reversed text."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


@dataclass
class Console:
    """Writes lines. Every line begins with our own words, so none can begin with `::`, a runner's command."""

    out: TextIO = sys.stdout

    def heading(self, stage: str, name: str) -> None:
        """Begin a stage of a variant."""
        self._line(f"{stage}  {name}")

    def say(self, text: str) -> None:
        """One indented line, or several."""
        for line in plain(text).splitlines() or [""]:
            self._line(f"  {line}")

    def quote(self, text: str) -> None:
        """Text of a model, behind a bar and folded."""
        for paragraph in plain(text).splitlines() or [""]:
            for line in textwrap.wrap(paragraph, WIDTH - 6) or [""]:
                self._line(f"    | {line}")

    def progress(self, text: str) -> None:
        """What is being done now."""
        self._line(f"  ... {plain(text)}")

    @contextmanager
    def busy(self, what: str, every: float = 30) -> Iterator[None]:
        """Say every so many seconds that `what` is still going on, for a log that nobody else writes into."""
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

    def finding(self, finding: Finding) -> None:
        """One check: its status, its id, its message, its remedy."""
        lines = textwrap.wrap(plain(finding.message), WIDTH - 27) or [""]
        self._line(f"  {_MARKS[finding.status]:5} {finding.id:18} {lines[0]}")
        for line in lines[1:]:
            self._line(f"  {'':24} {line}")
        if finding.remedy and finding.status in ("fail", "warn"):
            for line in textwrap.wrap(f"Next: {plain(finding.remedy)}", WIDTH - 27):
                self._line(f"  {'':24} {line}")

    def _line(self, text: str) -> None:
        print(text, file=self.out, flush=True)
