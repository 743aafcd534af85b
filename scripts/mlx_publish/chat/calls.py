"""What becomes of tools, of calls and of their results in the forms in which clients send them."""

from __future__ import annotations

from collections.abc import Mapping

from mlx_publish.chat.dialogues import (
    CALL_DATE,
    FORMS,
    RESULT,
    SECOND_DATE,
    SECOND_RESULT,
    SEVERAL_TYPES,
    TOOL,
)
from mlx_publish.chat.look import Look

_CALLS: Mapping[str, tuple[str, ...]] = {
    "call without text": (CALL_DATE, RESULT),
    "two calls": (CALL_DATE, SECOND_DATE, RESULT, SECOND_RESULT),
    "two rounds": (CALL_DATE, SECOND_DATE, RESULT, SECOND_RESULT),
}
_TOOLS: Mapping[str, str] = {
    "tool without description": TOOL,
    "tool without parameters": TOOL,
    "type as a list": SEVERAL_TYPES,
    "anyOf": SEVERAL_TYPES,
}
_BEFORE = 40  # characters in front of a text, among which the key of a printed part stands
_PRINTED = ("'text'", '"text"', '\\"text\\"')


def shows(look: Look, name: str, what: str, shown: str, lost: str) -> str:
    """Whether a dialogue has a text: `shown`, `lost`, or refused."""
    text = look.text(name)
    if text is None:
        return "refused"
    return shown if what in text else lost


def call(look: Look, name: str) -> str:
    """shown, escaped (quoted twice), lost, refused: a call's arguments."""
    fate = shows(look, name, CALL_DATE, "shown", "lost")
    return "escaped" if fate == "shown" and '\\"date\\"' in (look.text(name) or "") else fate


def form_taken(look: Look) -> str:
    """The form of arguments that the template takes, the one that it shows before the one that it merely bears."""
    ways = {form: call(look, f"call, {form}") for form in FORMS}
    return min(FORMS, key=lambda form: ("shown", "escaped", "lost", "refused").index(ways[form]))


def calls(look: Look) -> dict[str, str]:
    """By the dialogue, shown (all calls and all their results), lost (some), refused; in the form that is taken."""
    form = form_taken(look)
    return {name: _all(look, f"{name}, {form}", _expected(look, form, texts)) for name, texts in _CALLS.items()}


def _expected(look: Look, form: str, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Of a template that shows no result at all, that is told already."""
    results = RESULT in (look.text(f"call, {form}") or RESULT)
    return tuple(text for text in texts if results or text not in (RESULT, SECOND_RESULT))


def _all(look: Look, name: str, texts: tuple[str, ...]) -> str:
    text = look.text(name)
    if text is None:
        return "refused"
    return "shown" if all(part in text for part in texts) else "lost"


def tool_forms(look: Look) -> dict[str, str]:
    """By the dialogue, listed, untyped (the tool without the type), lost, refused."""
    fates = {}
    for name, needed in _TOOLS.items():
        fate = shows(look, name, TOOL, "listed", "lost")
        fates[name] = "untyped" if fate == "listed" and needed not in (look.text(name) or "").lower() else fate
    return fates


def parts(look: Look, name: str, what: str) -> str:
    """shown, printed (as Python's list or JSON), lost, refused: a text that a dialogue gives as a list of parts."""
    fate = shows(look, name, what, "shown", "lost")
    text = (look.text(name) or "").partition(what)[0][-_BEFORE:]
    return "printed" if fate == "shown" and any(key in text for key in _PRINTED) else fate
