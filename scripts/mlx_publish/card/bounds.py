"""Limits for templates of a repo's own: they may loop, multiply text and print, but not for ever."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SECONDS = 10.0
"""For one card; ours take a hundredth of a second."""
CHARACTERS = 1 << 20
"""The Hub shows cards of this size at most."""
REPEATED = 100_000
"""Characters or items that one multiplication may make."""


class TooMuch(BaseException):
    """A template went beyond a limit; the message says which.

    Not an `Exception`: Jinja writes the traceback of those anew, which fails where a signal came between two lines.
    """


def multiply(left: object, right: object) -> object:
    """Return the product, or raise `TooMuch` where it would be a text or list without measure."""
    for what, times in ((left, right), (right, left)):
        if isinstance(what, (str, bytes, list, tuple)) and isinstance(times, int) and len(what) * times > REPEATED:
            raise TooMuch(f"multiplies to more than {REPEATED:,} characters or items")
    return left * right  # type: ignore[operator]


def power(base: object, exponent: object) -> object:
    """Return the power, or raise `TooMuch` where it would have thousands of digits."""
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * exponent > REPEATED:
        raise TooMuch(f"a power with more than {REPEATED:,} bits")
    return base**exponent  # type: ignore[operator]


@contextlib.contextmanager
def deadline(seconds: float = SECONDS) -> Iterator[None]:
    """Raise `TooMuch` in what takes longer. Only a process's main thread has the clock for it."""
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TooMuch(f"takes longer than {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
