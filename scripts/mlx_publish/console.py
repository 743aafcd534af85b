"""What a person sees while it runs. Text from elsewhere cannot command a terminal or a runner."""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from mlx_publish.report import Finding

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# What a runner takes for a command: the new form after any blanks, the old form anywhere in a line. It compares as
# people read, without characters that nobody sees. Source: Runner.Common/ActionCommand.cs of actions/runner
_UNSEEN = r"(?:(?!\n)[\s\u00ad\u034f\u061c\u180e\u200b-\u200f\u2060-\u206f\ufe00-\ufe0f\ufeff])*"
_COMMAND = re.compile(rf"^{_UNSEEN}(?=:{_UNSEEN}:)|#(?={_UNSEEN}#{_UNSEEN}\[)", re.MULTILINE)
_MARKS = {"pass": "ok", "fixed": "fixed", "warn": "warn", "fail": "FAIL", "skip": "skip"}
WIDTH, NARROW = 100, 60
"""Characters of a line: at most, where no terminal says less, and at least."""


def width() -> int:
    """Characters of a line on this terminal; in a log the most."""
    return min(WIDTH, max(NARROW, shutil.get_terminal_size((WIDTH, 24)).columns))


def plain(text: str) -> str:
    """Make text safe to show: no control characters, so no colours, no cursor moves, no reversed text."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def harmless(text: str) -> str:
    """Break what a runner would take for a command, as `::set-output` or `##[add-path]`, in each line."""
    return _COMMAND.sub(lambda found: f"{found[0]}\\", text)


@dataclass
class Console:
    """Writes lines, of which none can command a runner."""

    out: TextIO = field(default_factory=lambda: sys.stdout)

    def heading(self, stage: str, name: str) -> None:
        """Begin a stage of a variant."""
        self._line(f"{stage}  {name}")

    @contextmanager
    def section(self, stage: str, name: str, *, folded: bool) -> Iterator[None]:
        """Begin a stage of a variant, whose findings follow; in a runner's log they are folded where all is well."""
        fold = folded and os.environ.get("GITHUB_ACTIONS") == "true"
        title = " ".join(harmless(plain(f"{stage}  {name}")).split("\n"))
        # The one command of ours; what stands behind it is shown, not carried out.
        print(f"::group::{title}" if fold else title, file=self.out, flush=True)
        try:
            yield
        finally:
            if fold:
                print("::endgroup::", file=self.out, flush=True)

    def say(self, text: str) -> None:
        """One indented line, or several."""
        for line in plain(text).splitlines() or [""]:
            self._line(f"  {line}")

    def quote(self, text: str) -> None:
        """Text of a model, behind a bar and folded."""
        for paragraph in plain(text).splitlines() or [""]:
            for line in textwrap.wrap(paragraph, width() - 6) or [""]:
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
        lines = textwrap.wrap(plain(finding.message), width() - 27) or [""]
        self._line(f"  {_MARKS[finding.status]:5} {finding.id:18} {lines[0]}")
        for line in lines[1:]:
            self._line(f"  {'':24} {line}")
        if finding.remedy and finding.status in ("fail", "warn"):
            for line in textwrap.wrap(f"Next: {plain(finding.remedy)}", width() - 27):
                self._line(f"  {'':24} {line}")

    def _line(self, text: str) -> None:
        print(harmless(text), file=self.out, flush=True)
