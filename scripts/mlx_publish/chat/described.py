"""What a chat template can do, in words for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_WORDS: Mapping[str, str] = {
    "native": "a turn of its own",
    "merged": "put into a user turn by the template",
    "lost": "vanishes",
    "kept": "yes",
    "ignored": "none",
    "clock": "today's",
    "untyped": "without its type",
}
_LONGEST = 48  # characters of a text in a table
_MOST_NAMES = 40  # in a sentence


def described(can: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (what, how) of a record of `Capabilities`, as plain data."""
    yield "System text", _WORDS.get(can["system"], can["system"])
    yield "Two user turns in a row", _WORDS.get(can["two_users"], can["two_users"])
    yield "Assistant first", _WORDS.get(can["assistant_first"], can["assistant_first"])
    yield "Tools", _tools(can)
    yield "Thinking", _thinking(can)
    yield "Earlier reasoning", f"{can['reasoning']['field']} as a field, {can['reasoning']['text']} in the text"
    yield "Content in parts", _WORDS.get(can["parts"], can["parts"])
    yield "Begin token", shown(can["begin_token"]) if can["begin_token"] else "not written by the template"
    yield "End of a turn", shown(can["turn_end"]) if can["turn_end"] else "nothing"
    yield "Asks for an answer by", shown(can["generation_prompt"]) if can["generation_prompt"] else "nothing"
    yield "Date", _WORDS.get(can["date"], can["date"])
    yield from _more(can)


def _more(can: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What evidence of earlier versions does not tell."""
    listed = can["tools"] == "listed"
    rows = (
        ("System text in the middle", can.get("system_later")),
        ("Role developer", can.get("developer")),
        ("System text in parts", can.get("system_parts")),
        ("Tool results in parts", can.get("result_parts") if listed else None),
    )
    yield from ((title, _WORDS.get(how, how)) for title, how in rows if how)
    if listed and "calls" in can:
        yield "Forms of calls", _odd(can["calls"], "shown")
    if listed and "tool_forms" in can:
        yield "Forms of tools", _odd(can["tool_forms"], "listed")


def _odd(forms: Mapping[str, str], usual: str) -> str:
    """What is not as usual, by the name of the dialogue."""
    odd = [f"{name}: {_WORDS.get(how, how)}" for name, how in forms.items() if how != usual]
    return ", ".join(odd) or f"all {usual}"


def _tools(can: Mapping[str, Any]) -> str:
    if can["tools"] != "listed":
        return _WORDS.get(can["tools"], can["tools"])
    calls = ", ".join(f"{form} arguments {how}" for form, how in can["tool_calls"].items())
    return f"listed; {calls}; results {can['tool_results']}"


def _thinking(can: Mapping[str, Any]) -> str:
    own = [f"{name} ({_values(values)})" for name, values in can.get("switches", {}).items()]
    if can["thinking"] == "switch":
        unset = "neither on nor off" if can["thinking_unset"] == "own" else can["thinking_unset"]
        own = [f"enable_thinking, {unset} by default", *own]
    return "; ".join(own) or "no switch"


def _values(values: Sequence[object]) -> str:
    return ", ".join(json.dumps(value) for value in values) or "changes no first prompt"


def shown(text: str, longest: int = _LONGEST) -> str:
    """A piece of prompt with its line ends visible, cut where it is long."""
    whole = repr(text[:longest])
    return whole if len(whole) <= longest and len(text) <= longest else f"{whole[: longest - 1]}…"


def listed(names: Sequence[str]) -> str:
    """Names that a template brings along, the first of them where they are many."""
    words = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names[:_MOST_NAMES]]
    return ", ".join((*words, *([f"and {len(names) - _MOST_NAMES:,} more"] if names[_MOST_NAMES:] else [])))
