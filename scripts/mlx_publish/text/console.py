"""What a person reads during a run. Text from elsewhere cannot command a terminal or a runner."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, Protocol, TextIO

from mlx_publish.text.colour import FAINT, HEADING, NEXT, STYLES, Palette, is_terminal, palette_of
from mlx_publish.text.door import Door
from mlx_publish.text.harmless import harmless, plain
from mlx_publish.text.live import Live
from mlx_publish.text.progress import Step


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
        """The next step; empty if there is none."""

    @property
    def details(self) -> Mapping[str, Any]:
        """Data for programs; `because_of` names the failed check that kept this one from looking."""


class Level(IntEnum):
    """How much is printed: failures and verdicts; also what is not fine; everything."""

    QUIET, NORMAL, VERBOSE = range(3)


_MARKS = {"pass": "ok", "fixed": "fixed", "warn": "warn", "fail": "FAIL", "skip": "skip"}
_SHOWN = {
    Level.QUIET: frozenset({"fail"}),
    Level.NORMAL: frozenset({"fixed", "warn", "fail"}),
    Level.VERBOSE: frozenset(_MARKS),
}
WIDTH, NARROW = 100, 40
"""Characters of a line: at most, where no terminal says less, and at least."""
_TOGETHER = "\N{NO-BREAK SPACE}"
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=(?:s|%|nats|[kMGT]B|GiB)(?!\w))")
_WIDE = 70
"""Characters of a line in which messages stand beside the ids of their checks."""


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
    level: Level = Level.NORMAL
    folds: bool = False
    """Whether a runner folds groups; then the log holds everything."""

    @cached_property
    def palette(self) -> Palette:
        """The colours of the stream."""
        return palette_of(self.out)

    @cached_property
    def _live(self) -> Live:
        door = self.out if isinstance(self.out, Door) and is_terminal(self.out) else None
        return Live(door, self.palette, lambda text: self._line((f"  ... {text}", "")))

    def heading(self, stage: str, name: str) -> None:
        """Begin a stage of a variant."""
        if self.level > Level.QUIET:
            self._line((stage, HEADING), (f"  {name}" if name else "", ""))

    @contextmanager
    def section(self, stage: str, name: str, *, folded: bool) -> Iterator[None]:
        """Begin a stage of a variant, whose findings follow; in a runner's log they are folded where all is well."""
        title = " ".join(harmless(plain(f"{stage}  {name}")).split("\n"))
        with (self.group if folded else titled)(self.out, title):
            yield

    def say(self, text: str) -> None:
        """Print indented lines."""
        if self.level > Level.QUIET:
            for line in plain(text).splitlines() or [""]:
                self._line((f"  {line}".rstrip(), ""))

    def verdict(self, text: str, status: str = "pass") -> None:
        """Print the verdict of a run, whatever the level; a long one goes on below."""
        for line in _wrapped(text, width()):
            self._line((line, STYLES[status]))

    def made(self, label: str, text: str) -> None:
        """Print what a run made: a path or an address, in one piece."""
        if self.level > Level.QUIET:
            self._line((f"  {label}: {text}", ""))

    def next(self, text: str, who: str = "") -> None:
        """Print what to do next, for all variants or those that `who` names: in one piece, so that it can be copied."""
        if self.level > Level.QUIET:
            self._line((f"Next for {who}: " if who else "Next: ", FAINT), (text, NEXT))

    def quote(self, text: str) -> None:
        """Print text of a model, behind a bar and folded."""
        if self.level > Level.QUIET:
            for paragraph in plain(text).splitlines() or [""]:
                for line in textwrap.wrap(paragraph, width() - 6) or [""]:
                    self._line((f"    | {line}", ""))

    def progress(self, now: str | Step) -> None:
        """Show what is being done now: in the live line of a terminal, else in a line of its own where it is new."""
        step = now if isinstance(now, Step) else Step(now)
        if step.stays:
            self._line((f"  {_MARKS['warn']:5} {plain(step.what)}", STYLES["warn"]))
        elif self._live.hear(step) and not self._live.drawn and self.level > Level.QUIET:
            self._line((f"  ... {plain(step.what)}", ""))

    def busy(self, what: str, every: float = 30) -> AbstractContextManager[None]:
        """Show what goes on: in a live line of a terminal, else every so many seconds that `what` still does."""
        return self._live.busy(what, every) if self.level > Level.QUIET else nullcontext()

    def of_bytes(self, what: str, total: int) -> Callable[[int], None]:
        """Return a function that takes how many bytes more are done of a piece of work, and shows how far it is."""
        lock, done = threading.Lock(), [0]

        def more(size: int) -> None:
            with lock:
                done[0] += size
                self.progress(Step(what, min(done[0], total), total))

        return more

    def findings(self, findings: Sequence[Statement], who: str = "") -> None:
        """Print the findings that this level shows, failures first; `who` names the variants that they are about.

        What waits for a failed check is counted in one line.
        """
        waiting = [finding for finding in findings if "because_of" in finding.details]
        for finding in sorted(findings, key=lambda finding: finding.status != "fail"):
            if finding not in waiting and finding.status in _SHOWN[self.level]:
                self.finding(finding, who)
        if waiting:
            self.say(f"{len(waiting)} check{'s' * (len(waiting) > 1)} {waiting[0].message}")

    def rest(self, findings: Sequence[Statement]) -> str:
        """Return the count of what `findings` does not print: `24 checks passed, 2 skipped`; empty if it is none."""
        hidden = [f for f in findings if f.status not in _SHOWN[self.level] and "because_of" not in f.details]
        counts = Counter(finding.status for finding in hidden)
        passed, skipped = counts["pass"], counts["skip"]
        words = [f"{passed} check{'s' * (passed != 1)} passed"] if passed or not skipped else []
        if skipped:
            words.append(f"{skipped} skipped" if words else f"{skipped} check{'s' * (skipped != 1)} skipped")
        return ", ".join(words) if hidden else ""

    def ended(self, status: str, text: str) -> None:
        """Print how a stage ended, below its findings; a failure has been marked there."""
        if self.level > Level.QUIET:
            mark = f"  {_MARKS[status] if status == 'pass' else '':5} "
            style = "" if status == "pass" else STYLES[status]
            first, *more = _wrapped(text, width() - len(mark))
            self._line((mark, STYLES[status]), (first, style))
            for line in more:
                self._line((" " * len(mark), ""), (line, style))

    def finding(self, finding: Statement, who: str = "") -> None:
        """Print the finding of a check: status, id, variants, message and remedy."""
        message = f"{who}: {plain(finding.message)}" if who else plain(finding.message)
        lines = [(line, "") for line in _wrapped(message, self._room)]
        if finding.remedy and finding.status in ("fail", "warn"):
            lines += [(line, FAINT) for line in _wrapped(f"Next: {plain(finding.remedy)}", self._room)]
        mark = (f"  {_MARKS[finding.status]:5} ", STYLES[finding.status])
        if width() >= _WIDE:
            self._line(mark, (f"{finding.id:18} ", ""), lines.pop(0))
        else:
            self._line(mark, (finding.id, HEADING))
        for line in lines:
            self._line((" " * (width() - self._room), ""), line)

    @property
    def _room(self) -> int:
        """Characters of a line that a message has."""
        return width() - (27 if width() >= _WIDE else 8)

    def _line(self, *parts: tuple[str, str]) -> None:
        """Print one line of parts in styles of ours."""
        text = harmless("".join(part for part, _ in parts))
        if self.palette.system is None or not isinstance(self.out, Door):
            print(text, file=self.out, flush=True)
            return
        # Each part is harmless by itself: what our own codes stand between is no command.
        self.out.ours("".join(self.palette.paint(harmless(plain(part)), style) for part, style in parts))


def _wrapped(text: str, columns: int) -> list[str]:
    """Return lines; a number and its unit stay together, and so does a name with hyphens."""
    text = _BEFORE_UNIT.sub(_TOGETHER, plain(text))
    # A name or a command that is cut at its hyphen cannot be pasted.
    lines = textwrap.wrap(text, columns, break_on_hyphens=False) or [""]
    return [line.replace(_TOGETHER, " ") for line in lines]
