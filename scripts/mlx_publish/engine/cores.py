"""The cores that a child may take, and how a BLAS shares them with work that is done side by side."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator

_given = [1]


def give(count: int) -> None:
    """Let this process take so many cores."""
    _given[:] = [count]
    _set_blas(count)


@contextlib.contextmanager
def shared(most: int) -> Iterator[int]:
    """Yield how many of `most` pieces of work may be done side by side; the BLAS has the other cores of each."""
    at_once = max(1, min(most, *_given))
    _set_blas(_given[0] // at_once)
    try:
        yield at_once
    finally:
        _set_blas(_given[0])


def _set_blas(threads: int) -> None:
    """Give OpenBLAS as many threads as a child has that is started for them."""
    if "OPENBLAS_NUM_THREADS" in os.environ and hasattr(library := ctypes.CDLL(None), "openblas_set_num_threads"):
        library.openblas_set_num_threads(threads)
