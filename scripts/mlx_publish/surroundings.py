"""Which exceptions are the surroundings' fault: disk, memory, and what a process may have of files and threads."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from mlx_publish.errors import SurroundingsError

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
