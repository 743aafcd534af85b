"""Render templates in a child process that has little memory, little time and no tokens.

The requests go in as one JSON file and the answers come back in another one, a line each as soon as it is there,
so that the parent knows which request was in work when the child ended.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mlx_publish.chat.rendering import Rendered
from mlx_publish.chat.sandbox import CHARACTERS
from mlx_publish.chat.variables import Reads
from mlx_publish.children import limited
from mlx_publish.children.limited import DISK_FAILED, TOO_LONG
from mlx_publish.children.limits import OUT_OF_MEMORY, TOO_SLOW
from mlx_publish.errors import Bug, PublishError, SurroundingsError
from mlx_publish.text.temporary import TemporaryFolder

ANSWERS_BYTES = 64 * 10**6
_AGAIN = "Close other programs and free space on the disk, then run again."


@dataclass(frozen=True)
class Request:
    """One rendering. `context` is JSON data; `now` a time as isoformat() writes it, or None for the machine's."""

    template: str
    context: Mapping[str, Any]
    now: str | None = None
    slot: tuple[str, int] | None = None
    """What the child puts in of what the last `Reading` found: the `switch`, `word` or `clock` of this number."""


@dataclass(frozen=True)
class Reading:
    """What some templates of one model read is to be told, which takes a parser."""

    templates: tuple[str, ...]


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
    return [one for one in work_through(requests, limits) if isinstance(one, Rendered)]


def work_through(requests: Sequence[Request | Reading], limits: Limits = LIMITS) -> list[Rendered | Reads]:
    """Do the same where some of the requests are a `Reading`, whose answer are `Reads` unless it was unsafe."""
    if not requests:
        return []
    job = {**_job(requests), "limits": asdict(limits), "watched": limited.WATCHED}
    try:
        with TemporaryFolder() as folder:
            (folder / "job.json").write_text(json.dumps(job, default=dict))
            code = limited.run(folder, limits.seconds, limits.memory_bytes)
            return _completed(_answers(folder), len(requests), _reason(code, limits), _failure(code, folder))
    except OSError as error:
        raise SurroundingsError(f"templates cannot be rendered: {error}", remedy=_AGAIN) from error


def _job(requests: Sequence[Request | Reading]) -> dict[str, Any]:
    """The requests with numbers in place of templates, of which each is large and asked for many times."""
    numbers: dict[str, int] = {}

    def number(template: str) -> int:
        return numbers.setdefault(template, len(numbers))

    told = [
        {"read": [number(template) for template in one.templates]}
        if isinstance(one, Reading)
        else {**vars(one), "template": number(one.template)}
        for one in requests
    ]  # fmt: skip
    return {"templates": list(numbers), "requests": told}


def _answers(folder: Path) -> list[Rendered | Reads] | None:
    """The answers that are complete, or None where the child did not come as far as to the first template."""
    path = folder / "answers"
    if not path.exists():
        return None
    with path.open("rb") as file:
        lines = file.read(ANSWERS_BYTES).split(b"\n")[:-1]
    return [_answer(json.loads(line)) for line in lines]


def _answer(told: dict[str, Any]) -> Rendered | Reads:
    return Reads.of(told["reads"]) if "reads" in told else Rendered(**told)


def _completed(
    told: list[Rendered | Reads] | None, count: int, reason: str | None, failure: PublishError
) -> list[Rendered | Reads]:
    """Say of the request that was in work why the child ended, and of the rest that they were not reached."""
    if told is None:
        raise failure
    last = told[-1] if told else None
    if len(told) < count and not (isinstance(last, Rendered) and last.kind == "unsafe"):
        if reason is None:
            raise failure
        told.append(Rendered(None, reason, "unsafe"))
    missing = Rendered(None, "not rendered, because one before it was unsafe", "not-reached")
    return [*told, *[missing] * (count - len(told))]


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
