"""Dialogues made of what a template itself says: its switches, the texts that it looks for, the dates that it names.

A template may be tame in every dialogue of ours and wait for a word. What it waits for stands in it, as a rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlx_publish.chat.variables import MOST_SETTINGS, MOST_WORDS, Reads

MOST_CLOCKS = 8
SLOTS: Mapping[str, int] = {"switch": MOST_SETTINGS, "word": MOST_WORDS, "words": 1, "clock": MOST_CLOCKS}
"""What may be put into a request, and how often."""
_DATE = re.compile(r"(?<!\d)(20\d\d)(?:-(0[1-9]|1[0-2])(?:-(0[1-9]|1\d|2[0-8]))?)?(?!\d)")

Filled = dict[str, Any]


def fill(request: Mapping[str, Any], found: Reads) -> Filled | None:
    """A request as it is, or with what its slot asks for; None where so many things were not found."""
    if request["slot"] is None:
        return dict(request)
    kind, number = request["slot"]
    values = slotted(kind, found)
    return _FILL[kind](dict(request), values[number]) if number < len(values) else None


def slotted(kind: str, found: Reads) -> Sequence[Any]:
    """What the slots of a kind are filled with, in order."""
    if kind == "switch":
        values: Sequence[Any] = found.settings
    elif kind == "clock":
        values = list(dict.fromkeys(date for word in found.words for date in _dates(word)))
    else:
        values = found.words if kind == "word" else [" ".join(found.words)] * bool(found.words)
    return values[: SLOTS[kind]]


def _dates(word: str) -> list[str]:
    return [f"{year}-{month or '01'}-{day or '01'}T03:30:00" for year, month, day in _DATE.findall(word)]


def _switch(request: Filled, setting: tuple[str, Any]) -> Filled:
    return {**request, "context": {**request["context"], setting[0]: setting[1]}}


def _word(request: Filled, word: str) -> Filled:
    """Every text of the dialogue becomes the word."""
    messages = [{**message, "content": word} for message in request["context"]["messages"]]
    return {**request, "context": {**request["context"], "messages": messages}}


def _clock(request: Filled, now: str) -> Filled:
    return {**request, "now": now}


_FILL: Mapping[str, Callable[[Filled, Any], Filled]] = {
    "switch": _switch, "word": _word, "words": _word, "clock": _clock,
}  # fmt: skip
