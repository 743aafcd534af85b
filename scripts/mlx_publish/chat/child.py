"""Render templates in a child process that has little memory, little time and no tokens.

Each answer comes back as soon as it is there, so that the parent knows which request was in work when the child ended.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlx_publish.chat.rendering import Rendered
from mlx_publish.chat.sandbox import CHARACTERS
from mlx_publish.chat.variables import Reads
from mlx_publish.children import limits as enforced
from mlx_publish.children.limits import OUT_OF_MEMORY, TOO_LONG, TOO_SLOW
from mlx_publish.children.once import Outcome, do_once
from mlx_publish.children.process import python
from mlx_publish.children.worker import Bounds
from mlx_publish.errors import Bug, PublishError, SurroundingsError, of_the_disk

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
    bounds = Bounds(limits.seconds, limits.memory_bytes if enforced.WATCHED else None, ANSWERS_BYTES)
    try:
        outcome = do_once(python("mlx_publish.chat"), _order(requests, limits), bounds)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise of_the_disk(error) from error
        raise SurroundingsError(f"templates cannot be rendered: {error}", remedy=_AGAIN) from error
    if not outcome.said:  # it did not come as far as to the first template
        raise _failure(outcome)
    answers = [_answer(one) for one in outcome.said[1:]]
    last = answers[-1] if answers else None
    if len(answers) < len(requests) and not (isinstance(last, Rendered) and last.kind == "unsafe"):
        # The one that was in work is told why the child ended.
        if (reason := _reason(outcome.code, limits)) is None:
            raise _failure(outcome)
        answers.append(Rendered(None, reason, "unsafe"))
    missing = Rendered(None, "not rendered, because one before it was unsafe", "not-reached")
    return [*answers, *[missing] * (len(requests) - len(answers))]


def _order(requests: Sequence[Request | Reading], limits: Limits) -> dict[str, Any]:
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
    within = {"limits": asdict(limits), "most": ANSWERS_BYTES, "watched": enforced.WATCHED}
    return {"templates": list(numbers), "requests": told, **within}


def _answer(told: dict[str, Any]) -> Rendered | Reads:
    return Reads.of(told["reads"]) if "reads" in told else Rendered(**told)


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


def _failure(outcome: Outcome) -> PublishError:
    code, said = outcome.code, outcome.last_line[:500]
    if code < 0 or code == TOO_SLOW:
        return SurroundingsError(f"the child that renders templates failed with {code}: {said}", remedy=_AGAIN)
    return Bug(f"the child that renders templates ended with {code}: {said}")
