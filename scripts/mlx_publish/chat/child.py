"""Render templates in a child process that has little memory, little time and no tokens.

Each answer comes back as soon as it is there, so that the parent knows which request was in work when the child ended.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlx_publish.chat.rendering import Rendered, Request
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
class Reading:
    """A request for what some templates of one model read, which takes a parser."""

    templates: tuple[str, ...]


@dataclass(frozen=True)
class Limits:
    """What a job may take: seconds on the clock for all requests, bytes of memory, characters for each text."""

    seconds: float = 8.0
    memory_bytes: int = 256 * 10**6
    characters: int = CHARACTERS


LIMITS = Limits()


def render_all(requests: Sequence[Request], limits: Limits = LIMITS) -> list[Rendered]:
    """Render all in one child and return the answers in order.

    The first "unsafe" one ends the job; those behind it are "not-reached".

    Raises `SurroundingsError` or `Bug` if the child itself fails, which says nothing of a template.
    """
    return [answer for answer in work_through(requests, limits) if isinstance(answer, Rendered)]


def work_through(requests: Sequence[Request | Reading], limits: Limits = LIMITS) -> list[Rendered | Reads]:
    """Do the same where some requests are a `Reading`, whose answer is a `Reads` unless it was unsafe."""
    if not requests:
        return []
    bounds = Bounds(limits.seconds, limits.memory_bytes if enforced.WATCHED else None, ANSWERS_BYTES)
    try:
        outcome = do_once(python("mlx_publish.chat"), _order(requests, limits), bounds)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise of_the_disk(error) from error
        raise SurroundingsError(f"templates cannot be rendered: {error}", remedy=_AGAIN) from error
    if not outcome.reports:  # it ended before the first template
        raise _failure(outcome)
    answers = [Reads.of(entry["reads"]) if "reads" in entry else Rendered(**entry) for entry in outcome.reports[1:]]
    last = answers[-1] if answers else None
    if len(answers) < len(requests) and not (isinstance(last, Rendered) and last.kind == "unsafe"):
        # The one that was in work gets the reason for which the child ended.
        if (reason := _reason(outcome.code, limits)) is None:
            raise _failure(outcome)
        answers.append(Rendered(None, reason, "unsafe"))
    missing = Rendered(None, "not rendered, because one before it was unsafe", "not-reached")
    return [*answers, *[missing] * (len(requests) - len(answers))]


def _order(requests: Sequence[Request | Reading], limits: Limits) -> dict[str, Any]:
    """Return the order for the child: numbers in place of templates, which are large and asked for many times."""
    numbers: dict[str, int] = {}

    def number(template: str) -> int:
        return numbers.setdefault(template, len(numbers))

    entries = [
        {"read": [number(template) for template in request.templates]}
        if isinstance(request, Reading)
        else {**vars(request), "template": number(request.template)}
        for request in requests
    ]
    bounds = {"limits": asdict(limits), "most": ANSWERS_BYTES, "watched": enforced.WATCHED}
    return {"templates": list(numbers), "requests": entries, **bounds}


def _reason(code: int, limits: Limits) -> str | None:
    """Say why a child ended in the midst of a template; None if that is not the template's doing."""
    slow = f"it did not end within {limits.seconds:g} s"
    reasons = {
        TOO_SLOW: slow,
        -signal.SIGXCPU: slow,
        OUT_OF_MEMORY: f"it took more than {limits.memory_bytes // 10**6} MB of memory",
        TOO_LONG: f"it and those before it wrote more than {ANSWERS_BYTES // 10**6} MB",
    }
    return reasons.get(code, f"it was killed by signal {-code}" if code < 0 else None)


def _failure(outcome: Outcome) -> PublishError:
    code, words = outcome.code, outcome.last_line[:500]
    if code < 0 or code == TOO_SLOW:
        return SurroundingsError(f"the template renderer failed with {code}: {words}", remedy=_AGAIN)
    return Bug(f"the template renderer ended with {code}: {words}")
