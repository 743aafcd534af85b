"""The Jinja environment of cards: a sandbox in which what is printed is escaped, and errors name file and line."""

from __future__ import annotations

import contextlib
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from types import FrameType
from typing import Any, Concatenate, ParamSpec, TypeVar

from jinja2 import StrictUndefined, TemplateNotFound, TemplateSyntaxError

from mlx_publish.card import tables, words
from mlx_publish.card.loader import OURS, TemplateLoader
from mlx_publish.card.templates import Templates, packaged
from mlx_publish.card.wrapping import wrapped
from mlx_publish.errors import BadInput, Bug, Place, in_file
from mlx_publish.evidence.evidence import Rung
from mlx_publish.evidence.measurements import FidelitySpec, ProofSpec, Rate, Record, SpeedSpec
from mlx_publish.text import markdown, numbers
from mlx_publish.text.jinja import BoundedSandbox
from mlx_publish.text.markdown import Markdown, escape

R = TypeVar("R", bound=Record)
P = ParamSpec("P")
SECONDS = 10.0
"""For one card; ours take a hundredth of a second."""
CHARACTERS = 1 << 20
"""The Hub shows cards of this size at most."""
REPEATED = 100_000
"""Characters or items that one multiplication may make, and digits of a power."""


class TooMuch(BaseException):
    """A template went beyond a limit; the message says which.

    Not an `Exception`: Jinja writes the traceback of those anew, which fails where a signal came between two lines.
    """


@contextlib.contextmanager
def deadline(seconds: float = SECONDS) -> Iterator[None]:
    """Raise `TooMuch` in what takes longer. Only a process's main thread has the clock for it."""
    if threading.current_thread() is not threading.main_thread() or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TooMuch(f"takes longer than {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _of(record: type[R], words_of: Callable[Concatenate[R, P], str]) -> Callable[..., str]:
    """Return a filter over the plain data of a record, as templates hold it."""

    def words_of_plain(data: object, *more: P.args, **named: P.kwargs) -> str:
        return words_of(_record(record, data), *more, **named)

    return words_of_plain


_latest: dict[type[Record], tuple[object, Record]] = {}


def _record(kind: type[R], data: object) -> R:
    """Return the record of plain data: several filters in a row are given the same, which nothing changes."""
    last, record = _latest.get(kind, (None, None))
    if record is None or last is not data or not isinstance(record, kind):
        record = kind.model_validate(data)
        _latest[kind] = (data, record)
    return record


FILTERS: Mapping[str, Callable[..., Any]] = {
    "md": markdown.escape,
    "code": markdown.code,
    "fenced": markdown.fenced,
    "link": markdown.link,
    "hub": markdown.hub,
    "sibling": _of(Rung, tables.sibling),
    "siblings": lambda ladder, label: tables.siblings([Rung.model_validate(rung) for rung in ladder], label),
    "by_kind": _of(FidelitySpec, tables.by_kind),
    "percentiles": _of(FidelitySpec, tables.percentiles),
    "errors": _of(FidelitySpec, words.errors),
    "speeds": _of(SpeedSpec, tables.speeds),
    "comparison": lambda ladder, label: tables.comparison([Rung.model_validate(rung) for rung in ladder], label),
    "wrapped": wrapped,
    "how_close": _of(FidelitySpec, words.how_close),
    "against": _of(FidelitySpec, words.against),
    "verdict": _of(FidelitySpec, words.verdict),
    "short_against": _of(FidelitySpec, words.short_against),
    "same_logits": _of(ProofSpec, words.same_logits),
    "spread": _of(Rate, tables.spread),
    "tokens": lambda number: f"{number:,}",
    "size": numbers.size,
    "memory": numbers.memory,
    "count": numbers.count,
    "percent": numbers.percent,
    "sig": numbers.significant,
    "tiny": lambda number: f"{number:.1e}",
}


BASE = "card/README.md.j2"


class CardEnvironment(BoundedSandbox):
    """Prints text escaped for Markdown, unless it is `Markdown` already: a filter's, a block's or a macro's."""

    def __init__(self, own: Templates | None) -> None:
        super().__init__(
            REPEATED, loader=TemplateLoader(own), undefined=StrictUndefined, finalize=escape, keep_trailing_newline=True
        )
        self.filters.update(FILTERS)

    def too_much(self, operator: str) -> TooMuch:
        """Return the error of a multiplication or power."""
        if operator == "*":
            return TooMuch(f"multiplies to more than {self.most:,} characters or items")
        return TooMuch(f"raises to a power with more than {self.most:,} digits")

    def concat(self, parts: Iterable[str]) -> Markdown:
        """Return together what templates printed."""
        return Markdown("".join(parts))


@lru_cache(maxsize=8)
def environment(own: Templates | None = None) -> CardEnvironment:
    """Return the environment of templates; compiled ones serve many cards."""
    return CardEnvironment(own)


def render_body(own: Templates | None, context: Mapping[str, object]) -> str:
    """Render the card below its front matter. `BadInput` names file and line of a template of the repo's own."""
    try:
        template = environment(own).get_template(BASE)
        if own is None:
            return template.render(context)
        with deadline():
            return "".join(_at_most(template.generate(context)))
    except TooMuch as error:
        if own is None:
            raise Bug(f"our own templates: {error}") from error
        raise BadInput(
            f"the template {error}",
            place=_last_place(own, error),
            remedy="A card is some pages; do less there.",
        ) from error
    except Exception as error:
        # A template can raise anything; what ours raise is a bug and stays one.
        if own is None or (bad_input := _bad_input(own, error)) is None:
            raise
        raise bad_input from error


def _at_most(parts: Iterable[str]) -> Iterator[str]:
    """Yield what a template prints, as long as it is a card."""
    left = CHARACTERS
    for part in parts:
        left -= len(part)
        if left < 0:
            raise TooMuch(f"prints more than {CHARACTERS:,} characters")
        yield part


def _bad_input(own: Templates, error: Exception) -> BadInput | None:
    """Return the error as one of the repo's own templates; None where it is none of those."""
    place = _place(own, error)
    if place is None:
        return None
    if isinstance(error, RecursionError):
        return BadInput(
            "the templates include or extend each other without an end",
            place=place,
            remedy=f"To build upon ours, write its name with '{OURS}' in front, as '{OURS}{BASE}'.",
        )
    if isinstance(error, TemplateNotFound):
        known = ", ".join(sorted(f"card/{name}" for name in packaged()))
        return BadInput(f"there is no template {error.name}", place=place, remedy=f"There are {known}, and your own.")
    return BadInput(f"{type(error).__name__}: {error}", place=place, remedy="docs/card.md says what is given.")


def _last_place(own: Templates, error: BaseException) -> Place:
    """Return file and line of the repo's own template that was being rendered, from a traceback as it was raised."""
    place = Place(str(own.folder))
    for frame, line in traceback.walk_tb(error.__traceback__):
        template = frame.f_globals.get("__jinja_template__")
        if template is not None and frame.f_code.co_filename.startswith(f"{own.folder}/"):
            # A signal may come where a frame has no line.
            at = template.get_corresponding_lineno(line or frame.f_code.co_firstlineno)
            place = in_file(frame.f_code.co_filename, at)
    return place


def _place(own: Templates, error: Exception) -> Place | None:
    """Return file and line within the repo's own templates where it went wrong, the innermost."""
    folder = f"{own.folder}/"
    if isinstance(error, TemplateSyntaxError) and (error.filename or "").startswith(folder):
        return in_file(error.filename, error.lineno)
    frames = traceback.extract_tb(error.__traceback__)
    return next((in_file(f.filename, f.lineno or 0) for f in reversed(frames) if f.filename.startswith(folder)), None)
