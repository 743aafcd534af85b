"""Render a chat template as transformers 5 does, without it: what the template sees, and what becomes of it.

A template comes from strangers and may spin or grow without end, so `render` is called in the child process of
this room only.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, cast

from jinja2 import Template, TemplateSyntaxError
from jinja2.exceptions import SecurityError

from mlx_publish.chat.sandbox import CHARACTERS, Forbidden, Refusal, Sandbox, TooMuch

Kind = Literal["text", "refused", "broken", "forbidden", "nested", "unsafe", "not-reached"]
_REASONING = ("reasoning_content", "thinking", "reasoning")
_KINDS: tuple[tuple[type[Exception], Kind], ...] = (
    (Refusal, "refused"),
    (Forbidden, "forbidden"),
    (TooMuch, "unsafe"),
    (RecursionError, "nested"),
)


@dataclass(frozen=True)
class Request:
    """One rendering. `context` is JSON data; `now` a time as isoformat() writes it, or None for the machine's."""

    template: str
    context: Mapping[str, object]
    now: str | None = None
    slot: tuple[str, int] | None = None
    """What the child puts in of what the templates of the last `Reading` read: kind (a key of SLOTS) and number."""


@dataclass(frozen=True)
class Rendered:
    """What became of one rendering: a text, or an error of at most 500 characters, which begins with its line.

    `kind` is "text"; "refused" where the template called raise_exception, whose message is the error; "broken"
    for any other error in it, a call of a method that changes its object among them; "forbidden" where it reached
    for the interpreter's insides; "nested" where it called itself without end; "unsafe" where it would have harmed
    the machine; "not-reached" where one before it in the same job was unsafe.
    """

    text: str | None
    error: str | None
    kind: Kind
    seconds: float = field(default=0.0, compare=False)
    """Of processor time that it took."""
    line: int = field(default=0, compare=False)
    """Of the template, where the error names one; else 0."""
    syntax: bool = field(default=False, compare=False)
    """Whether the template cannot be parsed, so that no dialogue can be rendered."""

    def to_json(self) -> dict[str, str | None]:
        """Return plain data that is the same in every run."""
        return {"text": self.text, "error": self.error, "kind": self.kind}


def render(template: str, context: Mapping[str, object], now: datetime, characters: int = CHARACTERS) -> Rendered:
    """Render `template` with `context`, JSON data as `apply_chat_template` is given it, at the time `now`.

    `context` names the special tokens that are set and no others. A text of more than `characters` is "unsafe".
    Raises `MemoryError` alone; every other error of the template is an answer.
    """
    begun = time.process_time()
    try:
        sandbox, compiled = _compiled(template, characters)
        sandbox.now = now
        rendering = Rendered(_joined(compiled.generate(full_context(context)), characters), None, "text")
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  a template may raise anything
        kind: Kind = next((kind for type_, kind in _KINDS if isinstance(error, type_)), "broken")
        syntax, line = isinstance(error, TemplateSyntaxError), _line(error)
        rendering = Rendered(None, _message_of(error, line)[:500], kind, line=line, syntax=syntax)
    return replace(rendering, seconds=time.process_time() - begun)


@functools.lru_cache(maxsize=8)
def _compiled(template: str, characters: int) -> tuple[Sandbox, Template]:
    """Compile once for all dialogues and clocks."""
    sandbox = Sandbox(datetime.min, characters)  # noqa: DTZ901  each rendering sets the time
    return sandbox, sandbox.from_string(template)


def messages_of(context: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    """Return the messages of a context, none where it has none."""
    return cast("Sequence[Mapping[str, object]]", context.get("messages", ()))


def full_context(context: Mapping[str, object]) -> dict[str, object]:
    """Return all that a template gets: what apply_chat_template always hands over, and the messages as it mends them.

    Source: `render_jinja_template` and `_alias_reasoning_fields` of transformers 5.
    """
    messages = [_message(message) for message in messages_of(context)]
    return {"tools": None, "documents": None, "add_generation_prompt": False, **context, "messages": messages}


def _message(message: Mapping[str, object]) -> dict[str, object]:
    """Drop keys that hold None, and put reasoning of any name under the names that templates read."""
    kept = {key: value for key, value in message.items() if value is not None}
    thought = next((kept[name] for name in _REASONING if name in kept), None)
    return kept if thought is None else {"thinking": thought, **kept, "reasoning_content": thought}


def _joined(pieces: Iterable[str], most: int) -> str:
    kept, length = [], 0
    for piece in pieces:
        length += len(piece)
        if length > most:
            raise TooMuch(f"it wrote more than {most:,} characters")
        kept.append(piece)
    return "".join(kept)


def _message_of(error: Exception, line: int) -> str:
    if isinstance(error, (Refusal, TooMuch)):
        return str(error)
    if isinstance(error, RecursionError):
        return "it is nested too deep, or calls itself without end"
    message = error.message if isinstance(error, TemplateSyntaxError) else error
    name = "SecurityError" if isinstance(error, SecurityError) else type(error).__name__
    return f"{f'line {line}: ' if line else ''}{name}: {message}"


def _line(error: Exception) -> int:
    """Return the line of the template, which jinja makes look like a file of Python in the traceback; 0 for none."""
    if isinstance(error, (Refusal, TooMuch, RecursionError)):
        return 0  # what they say is about the dialogue, or all of the template
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
