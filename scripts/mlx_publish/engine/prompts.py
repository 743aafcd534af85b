"""Prompts by mlx-lm's and transformers' own ways, jinja itself replaced: templates are rendered in their own child.

A chat template is a stranger's program. Here all that stands around it runs: which template is taken, what it is given,
how its text becomes ids. The template itself is neither parsed nor rendered in this process, but in the child of the
room `template`, which has little time and little memory.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

from jinja2 import TemplateError
from transformers.utils import chat_template_utils

from mlx_publish.chat.child import render_all
from mlx_publish.chat.look import NOW
from mlx_publish.chat.rendering import Rendered, Request
from mlx_publish.errors import Bug, PublishError, Refused

Answer = TypeVar("Answer")
Call = Callable[[], Answer]
_COMPILE = "_compile_jinja_template"
_ROUNDS = 3
_HALF = re.compile("[\ud800-\udfff]")
_known: dict[str, Rendered] = {}
"""What this job rendered already."""
_wanted: dict[str, Request] = {}


class _Wanted(BaseException):
    """A text is not known yet; no handler of errors shall take it for one."""


class _Template:
    """Stands where transformers expects a compiled template."""

    def __init__(self, text: str) -> None:
        self.text = text

    def render(self, **context: Any) -> str:
        """Give the text that the child made. Raises `TemplateError` if the template refused or broke."""
        request = Request(self.text, context, NOW)
        key = json.dumps([self.text, context])
        if key not in _known:
            _wanted[key] = request
            raise _Wanted
        if (text := _known[key].text) is None:
            raise TemplateError(_known[key].error)
        if _HALF.search(text):
            raise TemplateError("it writes half a character (a lone surrogate), which tokenizers reject")
        return text


def finished(calls: Mapping[str, Call[Answer]]) -> dict[str, Answer | Exception]:
    """Make calls, by name, that render templates; what one raises stands in the place of its result.

    All that they render is rendered at once, by a clock that stands still. Raises `Refused` if a template breaks
    out of its limits.
    """
    names: dict[str, str] = {}
    with _away_with_jinja():
        for _ in range(_ROUNDS):
            answers = {name: _made(name, call, names) for name, call in calls.items()}
            if not _wanted:
                return {name: answer for name, answer in answers.items() if not isinstance(answer, _Wanted)}
            _render(names)
    raise Bug("a template is rendered with what it rendered")


def forget() -> None:
    """Forget what was rendered: the next job asks for its own."""
    _known.clear()


def forbid() -> None:
    """Let nothing in this process compile a template from now on, but for what `finished` does."""
    setattr(chat_template_utils, _COMPILE, _forbidden)


def _forbidden(_template: str) -> NoReturn:
    raise Bug("a chat template was to be rendered outside of its child")


@contextlib.contextmanager
def _away_with_jinja() -> Iterator[None]:
    before = getattr(chat_template_utils, _COMPILE)
    setattr(chat_template_utils, _COMPILE, _Template)
    try:
        yield
    finally:
        setattr(chat_template_utils, _COMPILE, before)
        _wanted.clear()


def _made(name: str, call: Call[Answer], names: dict[str, str]) -> Answer | Exception | _Wanted:
    before = len(_wanted)
    try:
        return call()
    except _Wanted as wanted:
        names.update(dict.fromkeys([*_wanted][before:], name))
        return wanted
    except PublishError:
        raise
    except Exception as error:  # noqa: BLE001  a template may raise anything
        return error


def _render(names: Mapping[str, str]) -> None:
    """Render what is wanted, in one child, and know it."""
    answers = dict(zip(_wanted, render_all(list(_wanted.values())), strict=True))
    for key, rendered in answers.items():
        if rendered.kind in ("unsafe", "forbidden"):
            raise Refused(
                f"the chat template is not safe to render: {rendered.error} ({names[key]})",
                check="template-safe",
                remedy="Choose another source, or have its template fixed upstream.",
            )
    _known.update(answers)
    _wanted.clear()
