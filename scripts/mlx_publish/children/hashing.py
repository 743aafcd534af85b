"""The child that takes digests of large files, one thread a file, while the parent does something else.

The files are mapped and not read: the same bytes lie in the system's cache for whoever reads them beside it. A file
that becomes shorter while it is mapped kills the process that looks at it (SIGBUS), so that is this one.
Start-up is a part of what it costs: nothing is imported here but the standard library.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import threading
from collections.abc import Callable
from typing import Any

from mlx_publish.children.serving import Tell, serve

WINDOW = 8 << 20
"""Bytes of a file that are mapped at a time, which count as memory of this process."""
CHANGED = "changed"
_NICE = 2


def do(order: dict[str, Any], tell: Tell) -> list[dict[str, Any]]:
    """Return for each of `files`, a path with its mark, the SHA-256 and the times of its entry, or a fault."""
    files, lock, answers = order["files"], threading.Lock(), dict[int, dict[str, Any]]()
    # The largest first: it is what one waits for.
    left = iter(sorted(enumerate(files), key=lambda numbered: -numbered[1][1][2]))

    def count(size: int) -> None:
        with lock:
            tell(size)

    def work() -> None:
        while True:
            with lock:
                number, (path, mark) = next(left, (None, ("", ())))
            if number is None:
                return
            answers[number] = digested(path, tuple(mark), count)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(len(files), os.cpu_count() or 1) - 1)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    return [answers[number] for number in range(len(files))]


def digested(path: str, mark: tuple[int, ...], count: Callable[[int], None]) -> dict[str, Any]:
    """Return the SHA-256 of a file that has this mark from beginning to end, else what is wrong with it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError as error:
        return {"fault": error.strerror}
    except OSError:
        return {"fault": CHANGED}
    try:
        before = os.fstat(handle)
        if mark_of(before) != mark:
            return {"fault": CHANGED}
        digest = hashlib.sha256()
        for at in range(0, before.st_size, WINDOW):
            size = min(WINDOW, before.st_size - at)
            _foretell(handle, at + size)
            with mmap.mmap(handle, size, access=mmap.ACCESS_READ, offset=at) as window:
                digest.update(window)
            count(size)
        after = os.fstat(handle)
    except (OSError, ValueError) as error:  # ValueError: it has become shorter than what is to be mapped
        return {"fault": CHANGED if isinstance(error, ValueError) else str(error.strerror)}
    finally:
        os.close(handle)
    if mark_of(after) != mark:
        return {"fault": CHANGED}
    return {"sha256": digest.hexdigest(), "times": [before.st_ctime_ns, after.st_ctime_ns]}


def mark_of(status: os.stat_result) -> tuple[int, ...]:
    """Return what tells a file from another one: device, inode, size and time of the last change."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _foretell(handle: int, at: int) -> None:
    """Let the disk read what is mapped next, where the system takes such a hint."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, at, WINDOW, os.POSIX_FADV_WILLNEED)


if __name__ == "__main__":
    # What goes on beside it is what one waits for first.
    os.nice(_NICE)
    serve(do)
