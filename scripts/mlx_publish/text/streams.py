"""Standard output and error that never end a command: the reader may be gone, or know only ASCII."""

from __future__ import annotations

import codecs
import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from mlx_publish.text.door import Door

_SPELLED = "mlx-publish-spelled"
_FORMS = {
    "…": "...", "·": "-", "±": "+/-", "→": "->", "←": "<-", "≤": "<=", "≥": ">=", "≈": "~", "≠": "!=", "“": '"',
    "”": '"', "„": '"', "•": "*", "●": "*", "─": "-", "━": "-", "│": "|", "┼": "+", "✓": "ok", "█": "#", "░": ".",
    "\N{EN DASH}": "-", "\N{EM DASH}": "-", "\N{MINUS SIGN}": "-", "\N{MULTIPLICATION SIGN}": "x",
    "\N{LEFT SINGLE QUOTATION MARK}": "'", "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{NO-BREAK SPACE}": " ", "\N{NARROW NO-BREAK SPACE}": " ",
}  # fmt: skip
"""How what our own words use is written where an encoding, as ASCII, lacks it."""


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Return the other form of letters that an encoding lacks, which itself is ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_FORMS.get(letter, "?") for letter in error.object[error.start : error.end]), error.end


codecs.register_error(_SPELLED, _spelled)

_GONE = frozenset({errno.EPIPE, errno.ECONNRESET})
"""Nobody reads any more, as behind `head`: no fault of anybody's."""


class _Outlet(io.RawIOBase):
    """A file descriptor that takes all bytes; from its first failed write on it drops them.

    Python would otherwise try once more at its exit, fail again, and end with 120.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.fault: OSError | None = None
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any, /) -> int:
        """Write some of the bytes and return their number."""
        if self.fault is None:
            try:
                return os.write(self._descriptor, data)
            except OSError as error:
                self.fault = error
        return len(data)


@dataclass
class Lost:
    """What could not be printed."""

    fault: OSError | None = None
    """The first fault of a stream, known once the command has ended; a reader that is gone is no fault."""


@contextlib.contextmanager
def patient() -> Iterator[Lost]:
    """Put a door before both streams while a command runs; the record says afterwards what was lost.

    Prints what an encoding lacks in another form, as `->` for an arrow, else as `?`.
    """
    lost, before, outlets = Lost(), (sys.stdout, sys.stderr), list[_Outlet]()
    doors = [Door(_wrapped(stream, outlets)) for stream in before]
    sys.stdout, sys.stderr = doors
    try:
        yield lost
    finally:
        for door in doors:
            door.finish()
        sys.stdout, sys.stderr = before
        faults = [outlet.fault for outlet in outlets]
        lost.fault = next((fault for fault in faults if fault and fault.errno not in _GONE), None)


def _wrapped(stream: TextIO | None, outlets: list[_Outlet]) -> TextIO:
    """Return the stream over an outlet; a stream without a descriptor, as in tests, stays as it is."""
    encoding = "utf-8"
    if stream is None:  # it was closed before the start
        descriptor = os.open(os.devnull, os.O_WRONLY)
    else:
        try:
            stream.flush()
            descriptor, encoding = stream.fileno(), stream.encoding
        except (OSError, ValueError):
            return stream
    outlets.append(_Outlet(descriptor))
    return io.TextIOWrapper(io.BufferedWriter(outlets[-1]), encoding=encoding, errors=_SPELLED, line_buffering=True)
