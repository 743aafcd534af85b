"""What can go wrong, one class an exit code.

Every message says what failed and why; `remedy` says what to do next.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from typing import ClassVar

_LONG_WORD = re.compile(r"\S{501,}")
_LONGEST = 20_000
"""Characters of a message, which may name many places."""


def short(message: str, longest: int = _LONGEST) -> str:
    """The message with what it quotes cut: a name of megabytes says no more by its end than by its beginning."""
    said = _LONG_WORD.sub(lambda word: f"{word[0][:200]}…", message) if len(message) > 500 else message
    return said if len(said) <= longest else f"{said[:longest]}…"


class PublishError(Exception):
    """The base of all errors that this program raises on purpose."""

    exit_code: ClassVar[int] = 3
    # Only a `BadInput` has these.
    place: str = ""
    key: str = ""
    others: tuple[PublishError, ...] = ()

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(short(message))
        self.message = short(message)
        self.remedy = remedy


class Refused(PublishError):
    """A check failed: the model must not be published like this. Exit code 1.

    `check` is the id under which the finding stands in the report.
    """

    exit_code = 1

    def __init__(self, message: str, *, check: str = "readable", place: str = "", remedy: str = "") -> None:
        super().__init__(f"{place}: {message}" if place else message, remedy=remedy)
        self.check = check


class BadInput(PublishError):
    """A recipe, flag, event or policy is wrong. Exit code 2.

    `place` names where: `recipe.yaml:12` or `--bits`; `key` the key, as `variants[0].bits`; `others` are more of them.
    """

    exit_code = 2

    def __init__(
        self, message: str, *, place: str = "", key: str = "", remedy: str = "", others: Sequence[BadInput] = ()
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.place = place
        self.key = key
        self.others = tuple(others)

    def __str__(self) -> str:
        """Place, key and message in the form that editors and terminals make a link of, a line for each error."""
        own = ": ".join(part for part in (self.place, self.key, self.message) if part)
        return "\n".join((own, *map(str, self.others)))


class Bug(PublishError):
    """This program broke its own rules. Exit code 3."""

    exit_code = 3


class SurroundingsError(PublishError):
    """Network, Hub, disk, memory or Metal failed; the same command may be run again. Exit code 4."""

    exit_code = 4

    def __init__(self, message: str, *, remedy: str = "", retry_after: float | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after
        """Seconds that whoever failed asks to wait."""


class Interrupted(PublishError):
    """Somebody pressed ctrl-c or ended the job. Exit code 130."""

    exit_code = 130


_OF_THE_SYSTEM = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOTDIR,
    errno.EISDIR, errno.EIO, errno.ENOMEM, errno.EAGAIN, errno.EFBIG, errno.ELOOP, errno.ENAMETOOLONG, errno.EBUSY,
    errno.ESTALE, errno.ENXIO, errno.ENOLCK,
})  # fmt: skip
_AGAIN = "then run the same command again."
_FULL, _MEMORY = "the memory is full", f"Look at ulimit -v, or close other programs; {_AGAIN}"
# Libraries say these by exceptions of other kinds; the last is what mlx-lm's import runs into.
_TOLD: tuple[tuple[str, str, str], ...] = (
    ("can't start new thread", "no thread can be started", f"Look at ulimit -u and ulimit -v, {_AGAIN}"),
    ("failed to map segment", _FULL, _MEMORY),
    ("annot allocate memory", _FULL, _MEMORY),
    ("emory allocation still failed", _FULL, _MEMORY),  # OpenBLAS, which ends the process then
    ("Too many open files", "too many files are open", f"Run: ulimit -n 4096; {_AGAIN}"),
    ("No usable temporary directory", "no folder for temporary files can be written to",
     f"Free space in /tmp or name another folder by TMPDIR, {_AGAIN}"),
    ("raise maximum limit", "mlx-lm needs 4096 open files, and fewer are allowed here",
     f"Raise the hard limit (ulimit -H -n), {_AGAIN}"),
)  # fmt: skip


def of_the_surroundings(error: BaseException) -> SurroundingsError | None:
    """Return what to tell of an exception that is no bug, with what may mend it; None for any other."""
    for one in _chain(error):
        if isinstance(one, MemoryError):
            return SurroundingsError(_FULL, remedy=_MEMORY)
        if isinstance(one, OSError) and one.errno in _OF_THE_SYSTEM:
            return of_the_disk(one)
        if isinstance(one, (RuntimeError, ImportError, ValueError, FileNotFoundError)) and (told := by_words(str(one))):
            return told
    return None


def by_words(said: str) -> SurroundingsError | None:
    """Return what to tell of a library's last words; None where they speak of no limit."""
    for words, message, remedy in _TOLD:
        if words in said:
            return SurroundingsError(message, remedy=remedy)
    return None


def of_the_disk(error: OSError) -> SurroundingsError:
    """Say what the system says, and of which file."""
    name = f" ({error.filename})" if error.filename else ""
    remedy = f"Run: ulimit -n 4096; {_AGAIN}" if error.errno in (errno.EMFILE, errno.ENFILE) else ""
    return SurroundingsError(f"{os.strerror(error.errno or 0)}{name}", remedy=remedy or f"Free or unlock it, {_AGAIN}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it was raised from."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__
