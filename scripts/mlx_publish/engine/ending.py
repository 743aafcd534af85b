"""A class of mlx-lm that ends the process is a class that cannot be built."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator

from mlx_publish.errors import Refused


@contextlib.contextmanager
def going_on() -> Iterator[None]:
    """Turn an end of the process into `Refused`, with what was printed before: mlx_lm/models/olmo.py calls exit."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            yield
    except SystemExit as end:
        missing = _missing(end)
        lacks = f"the Python package {missing} is not installed" if missing else f"it ends with {end.code}"
        words = " ".join(said.getvalue().split())[:400]
        raise Refused(
            f"mlx-lm cannot build the model: {lacks}{f' ({words})' if words else ''}",
            check="builds",
            remedy="Install what it asks for beside mlx-lm, or take another source.",
        ) from end
    finally:
        sys.stdout.write(said.getvalue())


def _missing(error: BaseException) -> str:
    """The module that could not be imported on the way to `error`; empty where that is not the cause."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ImportError):
            return cause.name or str(cause)
        cause = cause.__cause__ or cause.__context__
    return ""
