"""What a chat template can do, in words for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # `smoke --template-only` does without pydantic, the hook of cards without what renders templates
    from mlx_publish.chat.capabilities import Capabilities
    from mlx_publish.evidence.measurements import CapabilitiesSpec

_Record: TypeAlias = "Capabilities | CapabilitiesSpec"
"""What a template can do now, or what evidence says of it."""

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


def described(can: _Record) -> Iterator[tuple[str, str]]:
    """Yield (what, how) for each capability."""
    yield "System prompt", _WORDS.get(can.system, can.system)
    yield "Two user turns in a row", _WORDS.get(can.two_users, can.two_users)
    yield "Assistant first", _WORDS.get(can.assistant_first, can.assistant_first)
    calls = ", ".join(f"{form} arguments {how}" for form, how in can.tool_calls.items())
    tools = f"listed; {calls}; results {can.tool_results}"
    yield "Tools", tools if can.tools == "listed" else _WORDS.get(can.tools, can.tools)
    yield "Thinking", _thinking(can)
    yield "Earlier reasoning", f"{can.reasoning['field']} as a field, {can.reasoning['text']} in the text"
    yield "Multi-part content", _WORDS.get(can.parts, can.parts)
    yield "BOS token", shown(can.begin_token) if can.begin_token else "not written by the template"
    yield "End of a turn", shown(can.turn_end) if can.turn_end else "nothing"
    yield "Generation prompt", shown(can.generation_prompt) if can.generation_prompt else "nothing"
    yield "Date", _WORDS.get(can.date, can.date)
    yield from _more(can)


def _more(can: _Record) -> Iterator[tuple[str, str]]:
    """Yield the capabilities that evidence of earlier versions lacks."""
    listed = can.tools == "listed"
    rows = (
        ("System prompt mid-dialogue", can.system_later),
        ("Role developer", can.developer),
        ("System prompt as multi-part content", can.system_parts),
        ("Tool results as multi-part content", can.result_parts if listed else None),
    )
    yield from ((title, _WORDS.get(how, how)) for title, how in rows if how)
    if listed and can.calls:
        yield "Forms of calls", _odd(can.calls, "shown")
    if listed and can.tool_forms:
        yield "Forms of tools", _odd(can.tool_forms, "listed")


def _odd(forms: Mapping[str, str], usual: str) -> str:
    """List the dialogues that do not go as usual."""
    odd = [f"{name}: {_WORDS.get(how, how)}" for name, how in forms.items() if how != usual]
    return ", ".join(odd) or f"all {usual}"


def _thinking(can: _Record) -> str:
    own = []
    for name, values in can.switches.items():
        effective = ", ".join(json.dumps(value) for value in values) or "changes no first prompt"
        own.append(f"{name} ({effective})")
    if can.thinking == "switch":
        unset = "neither on nor off" if can.thinking_unset == "own" else can.thinking_unset
        own = [f"enable_thinking, {unset} by default", *own]
    return "; ".join(own) or "no switch"


def shown(text: str, longest: int = _LONGEST) -> str:
    """Return a piece of prompt with its line ends visible, cut where it is long."""
    whole = repr(text[:longest])
    return whole if len(whole) <= longest and len(text) <= longest else f"{whole[: longest - 1]}…"


def listed(names: Sequence[str]) -> str:
    """List names that a template brings along, the first of them where they are many."""
    words = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names[:_MOST_NAMES]]
    return ", ".join((*words, *([f"and {len(names) - _MOST_NAMES:,} more"] if names[_MOST_NAMES:] else [])))
