"""Work on many things shared among the machine's cores, by copies of this process that have everything loaded."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Sequence
from typing import BinaryIO, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
WORTH = 50
"""So many things are worth a process of their own."""


def shared(items: Sequence[Item], work: Callable[[Sequence[Item]], list[Result]]) -> list[Result]:
    """Return what `work` makes of all items, in their order. It must not depend on what it did before.

    An error ends up where it would have without: the first by order is raised.
    """
    count = min(os.cpu_count() or 1, len(items) // WORTH)
    # On a Mac a copy of a process that has threads may hang.
    if count < 2 or sys.platform != "linux":
        return work(items)
    # The first piece is this process's own; what it loads and compiles on the way, the copies have to do again.
    size = -(-len(items) // count)
    pieces = [items[start : start + size] for start in range(0, len(items), size)]
    others = [_start(piece, work) for piece in pieces[1:]]
    results = work(pieces[0])
    for pid, stream in others:
        with stream:
            answer = pickle.load(stream)  # noqa: S301  our own copy wrote it
        os.waitpid(pid, 0)
        if isinstance(answer, BaseException):
            raise answer
        results += answer
    return results


def _start(piece: Sequence[Item], work: Callable[[Sequence[Item]], list[Result]]) -> tuple[int, BinaryIO]:
    source, target = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(target)
        return pid, os.fdopen(source, "rb")
    code = 1
    try:
        with os.fdopen(target, "wb") as stream:
            try:
                answer: list[Result] | Exception = work(piece)
            except Exception as error:  # noqa: BLE001  the parent raises it
                answer = error
            pickle.dump(answer, stream)
        code = 0
    finally:
        os._exit(code)
