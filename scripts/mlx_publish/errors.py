"""What can go wrong, one class an exit code.

Every message says what failed and why; `remedy` says what to do next.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

_LONG_WORD = re.compile(r"\S{501,}")
_LONGEST = 20_000
"""Characters of a message, which may name many places."""


def short(message: str, longest: int = _LONGEST) -> str:
    """Return a message with what it quotes cut: a name of megabytes says no more by its end than by its beginning."""
    text = _LONG_WORD.sub(lambda word: f"{word[0][:200]}…", message) if len(message) > 500 else message
    return text if len(text) <= longest else f"{text[:longest]}…"


@dataclass(frozen=True)
class Place:
    """Where something is: a file and its line, or a flag, a variable, a field of a form."""

    name: str = ""
    line: int = 0
    """Counted from 1; 0 where none is known."""

    def __bool__(self) -> bool:
        return bool(self.name)

    def __str__(self) -> str:
        """Return the form that editors and terminals make a link of."""
        return f"{self.name}:{self.line}" if self.line else self.name


NOWHERE = Place()


def in_file(path: object, line: int = 1) -> Place:
    """Return a place in a file, its first line where nothing better is known."""
    return Place(str(path), line)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, or was, with all that is known of it; a sentence is made of it where it is printed."""

    message: str
    place: Place = NOWHERE
    key: str = ""
    """The key of the file or form, as `variants[0].bits`."""
    remedy: str = ""
    """The next step."""
    fixed: bool = False
    """Whether it is mended already."""

    @property
    def text(self) -> str:
        """Key and message, for where the place is shown otherwise."""
        return ": ".join(part for part in (self.key, "fixed" if self.fixed else "", self.message) if part)

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.place else self.text


class PublishError(Exception):
    """The base of all errors that this program raises on purpose: one fault, or several at once."""

    exit_code: ClassVar[int] = 3
    kind: ClassVar[str] = "bug"
    """What `--json` calls it."""

    def __init__(
        self, message: str, *, place: str | Place = "", key: str = "", remedy: str = "", others: Sequence[Fault] = ()
    ) -> None:
        super().__init__(short(message))
        where = Place(place) if isinstance(place, str) else place
        more = (replace(fault, message=short(fault.message)) for fault in others)
        self.faults = (Fault(short(message), replace(where, name=short(where.name)), key, remedy), *more)

    @property
    def message(self) -> str:
        """What is wrong, without its place."""
        return self.faults[0].message

    @property
    def place(self) -> Place:
        """Where it is wrong."""
        return self.faults[0].place

    @property
    def key(self) -> str:
        """The key that is wrong; empty if it is none."""
        return self.faults[0].key

    @property
    def remedy(self) -> str:
        """The next step."""
        return self.faults[0].remedy

    def __str__(self) -> str:
        """A line for each fault, with place and key."""
        return "\n".join(map(str, self.faults))


class Refused(PublishError):
    """A check failed: the model must not be published like this. Exit code 1.

    `check` is the id under which the finding stands in the report; `place` is a file of the model.
    """

    exit_code = 1
    kind = "refused"

    def __init__(self, message: str, *, check: str = "readable", place: str | Place = "", remedy: str = "") -> None:
        super().__init__(message, place=place, remedy=remedy)
        self.check = check


class BadInput(PublishError):
    """A recipe, flag, event or policy is wrong. Exit code 2."""

    exit_code = 2
    kind = "bad-input"


class Bug(PublishError):
    """This program broke its own rules. Exit code 3."""

    exit_code = 3


class SurroundingsError(PublishError):
    """Network, Hub, disk, memory or Metal failed; the same command may be run again. Exit code 4."""

    exit_code = 4
    kind = "surroundings"

    def __init__(
        self, message: str, *, remedy: str = "", retry_after: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after
        """Seconds that whoever failed asks to wait."""
        self.status = status
        """Status of the answer over HTTP, where there was one."""


class Interrupted(PublishError):
    """Somebody pressed ctrl-c or ended the job. Exit code 130."""

    exit_code = 130
    kind = "interrupted"


_OF_THE_SYSTEM = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOTDIR,
    errno.EISDIR, errno.EIO, errno.ENOMEM, errno.EAGAIN, errno.EFBIG, errno.ELOOP, errno.ENAMETOOLONG, errno.EBUSY,
    errno.ESTALE, errno.ENXIO, errno.ENOLCK,
})  # fmt: skip
_AGAIN = "then run the same command again."
_FULL, _MEMORY = "out of memory", f"Check ulimit -v, or close other programs; {_AGAIN}"
# Libraries say these by exceptions of other kinds; the last is what mlx-lm's import runs into.
_BY_WORDS = (RuntimeError, ImportError, ValueError, FileNotFoundError)
_LIMITS: tuple[tuple[str, str, str], ...] = (
    ("can't start new thread", "cannot start another thread", f"Check ulimit -u and ulimit -v, {_AGAIN}"),
    ("failed to map segment", _FULL, _MEMORY),
    ("annot allocate memory", _FULL, _MEMORY),
    ("emory allocation still failed", _FULL, _MEMORY),  # OpenBLAS, which ends the process then
    ("Too many open files", "too many open files", f"Run: ulimit -n 4096; {_AGAIN}"),
    (
        "No usable temporary directory",
        "no writable folder for temporary files",
        f"Free space in /tmp or set TMPDIR to another folder, {_AGAIN}",
    ),
    (
        "raise maximum limit",
        "mlx-lm needs 4096 open files, but the limit here is lower",
        f"Raise the hard limit (ulimit -H -n), {_AGAIN}",
    ),
)


def of_the_surroundings(error: BaseException) -> SurroundingsError | None:
    """Return what to tell of an exception that is no bug, with what may mend it; None for any other."""
    for cause in _chain(error):
        if isinstance(cause, MemoryError):
            return SurroundingsError(_FULL, remedy=_MEMORY)
        if isinstance(cause, OSError) and cause.errno in _OF_THE_SYSTEM:
            return of_the_disk(cause)
        if isinstance(cause, _BY_WORDS) and (limit := by_words(str(cause))):
            return limit
    return None


def by_words(last: str) -> SurroundingsError | None:
    """Return what to tell of a library's last words; None if they speak of no limit."""
    for words, message, remedy in _LIMITS:
        if words in last:
            return SurroundingsError(message, remedy=remedy)
    return None


def of_the_disk(error: OSError) -> SurroundingsError:
    """Say what the system says, and of which file."""
    name = f" ({error.filename})" if error.filename else ""
    remedy = f"Run: ulimit -n 4096; {_AGAIN}" if error.errno in (errno.EMFILE, errno.ENFILE) else ""
    return SurroundingsError(f"{os.strerror(error.errno or 0)}{name}", remedy=remedy or f"Free or unlock it, {_AGAIN}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what it was raised from."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
