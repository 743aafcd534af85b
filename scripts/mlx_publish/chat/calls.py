"""What a template makes of tools, calls and their results in the forms that clients send."""

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
    """Return `shown` where a dialogue has a text, `lost` where it has not, `refused` where it did not render."""
    text = look.text(name)
    if text is None:
        return "refused"
    return shown if what in text else lost


def call(look: Look, name: str) -> str:
    """Return what becomes of a call's arguments: shown, escaped (quoted twice), lost, refused."""
    fate = shows(look, name, CALL_DATE, "shown", "lost")
    return "escaped" if fate == "shown" and '\\"date\\"' in (look.text(name) or "") else fate


def form_taken(look: Look) -> str:
    """Return the form of arguments that the template takes: one that it shows before one that it merely bears."""
    fates = {form: call(look, f"call, {form}") for form in FORMS}
    return min(FORMS, key=lambda form: ("shown", "escaped", "lost", "refused").index(fates[form]))


def calls(look: Look) -> dict[str, str]:
    """Return, by dialogue, shown (all calls and their results), lost (some), refused; in the form that is taken."""
    form, fates = form_taken(look), {}
    # That a template shows no result at all is a capability of its own, so it does not count again here.
    results = RESULT in (look.text(f"call, {form}") or RESULT)
    for name, texts in _CALLS.items():
        expected = [part for part in texts if results or part not in (RESULT, SECOND_RESULT)]
        text = look.text(f"{name}, {form}")
        fates[name] = "refused" if text is None else "shown" if all(part in text for part in expected) else "lost"
    return fates


def tool_forms(look: Look) -> dict[str, str]:
    """Return, by dialogue, listed, untyped (the tool without the type), lost, refused."""
    fates = {}
    for name, needed in _TOOLS.items():
        fate = shows(look, name, TOOL, "listed", "lost")
        fates[name] = "untyped" if fate == "listed" and needed not in (look.text(name) or "").lower() else fate
    return fates


def parts(look: Look, name: str, what: str) -> str:
    """Return what becomes of a text given as a list of parts: shown, printed (as a list), lost, refused."""
    fate = shows(look, name, what, "shown", "lost")
    text = (look.text(name) or "").partition(what)[0][-_BEFORE:]
    return "printed" if fate == "shown" and any(key in text for key in _PRINTED) else fate
