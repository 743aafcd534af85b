"""What a chat template can do, in words for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_WORDS: Mapping[str, str] = {
    "native": "a turn of its own",
    "merged": "put into a user turn by the template",
    "lost": "vanishes",
    "kept": "yes",
    "ignored": "none",
    "clock": "today's",
}
_LONGEST = 48  # characters of a text in a table


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


def _tools(can: Mapping[str, Any]) -> str:
    if can["tools"] != "listed":
        return _WORDS.get(can["tools"], can["tools"])
    calls = ", ".join(f"{form} arguments {how}" for form, how in can["tool_calls"].items())
    return f"listed; {calls}; results {can['tool_results']}"


def _thinking(can: Mapping[str, Any]) -> str:
    if can["thinking"] == "none":
        return "no switch"
    unset = "neither on nor off" if can["thinking_unset"] == "own" else can["thinking_unset"]
    return f"enable_thinking, {unset} by default"


def shown(text: str) -> str:
    """A piece of prompt with its line ends visible, cut where it is long."""
    whole = repr(text)
    return whole if len(whole) <= _LONGEST else f"{whole[: _LONGEST - 1]}…"
