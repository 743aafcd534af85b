"""Render templates in a child process that has little memory, little time and no tokens.

The requests go in as one JSON file and the answers come back in another one, a line each as soon as it is there,
so that the parent knows which request was in work when the child ended.
"""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlx_publish.errors import Bug, PublishError, SurroundingsError
from mlx_publish.template import process
from mlx_publish.template.process import DISK_FAILED, OUT_OF_MEMORY, TOO_LONG, TOO_SLOW
from mlx_publish.template.rendering import Rendered
from mlx_publish.template.sandbox import CHARACTERS

ANSWERS_BYTES = 64 * 10**6
_AGAIN = "Close other programs and free space on the disk, then run again."


@dataclass(frozen=True)
class Request:
    """One rendering. `context` is JSON data; `now` a time as isoformat() writes it, or None for the machine's."""

    template: str
    context: Mapping[str, Any]
    now: str | None = None


@dataclass(frozen=True)
class Limits:
    """What a job may take: seconds on the clock for all requests, bytes of memory, characters for each text."""

    seconds: float = 8.0
    memory_bytes: int = 256 * 10**6
    characters: int = CHARACTERS


LIMITS = Limits()


def render_all(requests: Sequence[Request], limits: Limits = LIMITS) -> list[Rendered]:
    """Render all, in order, in one child. The first "unsafe" one ends the job; those behind it are "not-reached".

    Raises `SurroundingsError` or `Bug` where the child itself fails, which says nothing of a template.
    """
    if not requests:
        return []
    job = {"requests": [vars(one) for one in requests], "limits": asdict(limits), "watched": process.WATCHED}
    try:
        with tempfile.TemporaryDirectory(prefix="mlx-publish-") as name:
            folder = Path(name)
            (folder / "job.json").write_text(json.dumps(job, default=dict))
            code = process.run(folder, limits.seconds, limits.memory_bytes)
            return _completed(_answers(folder), len(requests), _reason(code, limits), _failure(code, folder))
    except OSError as error:
        raise SurroundingsError(f"templates cannot be rendered: {error}", remedy=_AGAIN) from error


def _answers(folder: Path) -> list[Rendered] | None:
    """The answers that are complete, or None where the child did not come as far as to the first template."""
    path = folder / "answers"
    if not path.exists():
        return None
    with path.open("rb") as file:
        lines = file.read(ANSWERS_BYTES).split(b"\n")[:-1]
    return [Rendered(**json.loads(line)) for line in lines]


def _completed(told: list[Rendered] | None, count: int, reason: str | None, failure: PublishError) -> list[Rendered]:
    """Say of the request that was in work why the child ended, and of the rest that they were not reached."""
    if told is None:
        raise failure
    if len(told) < count and not (told and told[-1].kind == "unsafe"):
        if reason is None:
            raise failure
        told.append(Rendered(None, reason, "unsafe"))
    missing = Rendered(None, "not rendered, because one before it was unsafe", "not-reached")
    return told + [missing] * (count - len(told))


def _reason(code: int, limits: Limits) -> str | None:
    """Why a child ended in the midst of a template; None where that is not the template's doing."""
    slow = f"it did not end within {limits.seconds:g} s"
    reasons = {
        TOO_SLOW: slow,
        -signal.SIGXCPU: slow,
        OUT_OF_MEMORY: f"it took more than {limits.memory_bytes // 10**6} MB of memory",
        TOO_LONG: f"it and those before it wrote more than {ANSWERS_BYTES // 10**6} MB",
    }
    return reasons.get(code, f"it died of signal {-code}" if code < 0 else None)


def _failure(code: int, folder: Path) -> PublishError:
    with (folder / "log").open("rb") as log:
        said = log.read(ANSWERS_BYTES).decode(errors="replace").strip().rpartition("\n")[2][:500]
    if code < 0 or code in (TOO_SLOW, DISK_FAILED):
        return SurroundingsError(f"the child that renders templates failed with {code}: {said}", remedy=_AGAIN)
    return Bug(f"the child that renders templates ended with {code}: {said}")
