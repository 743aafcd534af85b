"""The only way out to a terminal or a runner: whatever we or a library print passes here."""

from __future__ import annotations

import io
import re
from threading import RLock
from typing import TextIO

from mlx_publish.text.harmless import UNSEEN, harmless, plain
from mlx_publish.text.masking import without_secrets

# What may be the first half of a command: it waits until the rest arrives.
_HALF = re.compile(rf"(?:\A{UNSEEN}(?::{UNSEEN})?|#{UNSEEN}(?:#{UNSEEN})?)\Z")
# A progress bar on a terminal goes back to the beginning of its line, and up. A log has no bars.
_OF_A_BAR = re.compile(r"(\r|\x1b\[A)")
_ERASE = "\r\x1b[2K"
"""Takes the cursor to the beginning of its line, and clears it."""
_LONGEST = 1 << 16
"""Characters of a line that are kept for its end; a longer one goes on as it comes."""


class Door(io.TextIOBase):
    """A stream of text whose lines are made harmless and hold no secret; `command` alone speaks to the runner."""

    def __init__(self, inner: TextIO) -> None:
        """Stand before a stream."""
        super().__init__()
        self._inner = inner
        self._held = ""
        self._lock = RLock()  # a thread tells of progress while others print
        self._within = False  # whether the inner stream is in the midst of a line
        self._live = False  # whether a line of progress is shown, which goes before anything else is written

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream."""
        return getattr(self._inner, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """How the stream handles letters that its encoding lacks."""
        return getattr(self._inner, "errors", None)

    def writable(self) -> bool:
        """Return True: it takes text."""
        return True

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._inner.isatty()

    def fileno(self) -> int:
        """Return the descriptor of the stream."""
        return self._inner.fileno()

    def write(self, text: str, /) -> int:
        """Take text, and pass on whole lines."""
        with self._lock:
            self._held += text
            end = max(self._held.rfind("\n"), self._held.rfind("\r") if self.isatty() else -1) + 1
            if not end and len(self._held) > _LONGEST:
                end = self._sure()
            self._pass(end)
            if len(self._held) > _LONGEST:  # half of a command, and then only invisible characters
                self._held = re.sub(UNSEEN, "", self._held)
        return len(text)

    def flush(self) -> None:
        """Pass on what waits, but for the half of what may become a command."""
        if not self.closed:
            self._let_go(self._sure())

    def finish(self) -> None:
        """Pass on everything: nothing follows."""
        self.live("")
        self._let_go(len(self._held))

    def ours(self, line: str) -> None:
        """Write a line with styles of our own; what is foreign in it was made plain and harmless by the caller."""
        with self._lock:
            self._pass(len(self._held))
            self._erase()
            self._inner.write(("\n" if self._within else "") + without_secrets(line) + "\n")
            self._within = False
            self._inner.flush()

    def live(self, line: str) -> None:
        """Show a line, made as for `ours`, until something else is written; an empty one takes it away."""
        with self._lock:
            if self._held or self._within:
                return
            self._erase()
            self._inner.write(without_secrets(line))
            self._live = bool(line)
            self._inner.flush()

    def command(self, line: str) -> None:
        """Write a command of our own for the runner, at the beginning of a line."""
        with self._lock:
            self._pass(len(self._held))
            self._erase()
            self._inner.write(("\n" if self._within else "") + line + "\n")
            self._within = False
            self._inner.flush()

    def _sure(self) -> int:
        """Return how many characters may go on, whatever follows."""
        half = _HALF.search(self._held)
        return half.start() if half else len(self._held)

    def _let_go(self, end: int) -> None:
        with self._lock:
            self._pass(end)
            self._inner.flush()

    def _pass(self, end: int) -> None:
        if not end:
            return
        self._erase()
        text, self._held = self._held[:end], self._held[end:]
        shown = without_secrets(text)
        parts = _OF_A_BAR.split(shown) if self.isatty() else [shown]
        parts[::2] = map(plain, parts[::2])  # the others are what was split at
        self._inner.write(harmless("".join(parts)))
        self._within = not text.endswith("\n")

    def _erase(self) -> None:
        if self._live:
            self._live = False
            self._inner.write(_ERASE)


def command(out: TextIO | Door, line: str) -> None:
    """Write a command for the runner; its data has to be escaped already."""
    if isinstance(out, Door):
        out.command(line)
    else:
        print(line, file=out, flush=True)
