"""Dialogues made of what a template itself says: its switches, the texts that it looks for, the dates that it names.

A template may be tame in every dialogue of ours and wait for a word. What it waits for stands in it, as a rule.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlx_publish.chat.rendering import Request, messages_of
from mlx_publish.chat.variables import MOST_SETTINGS, MOST_WORDS, Reads

MOST_CLOCKS = 8
SLOTS: Mapping[str, int] = {"switch": MOST_SETTINGS, "word": MOST_WORDS, "words": 1, "clock": MOST_CLOCKS}
"""What may be put into a request, and how often."""
_DATE = re.compile(r"(?<!\d)(20\d\d)(?:-(0[1-9]|1[0-2])(?:-(0[1-9]|1\d|2[0-8]))?)?(?!\d)")


def fill(request: Request, reads: Reads) -> Request | None:
    """Return the request with what its slot asks for; None if the template has fewer values for such a slot."""
    if request.slot is None:
        return request
    kind, number = request.slot
    values = slotted(kind, reads)
    if number >= len(values):
        return None
    value = values[number]
    if kind == "clock":
        return replace(request, now=value)
    if kind == "switch":
        return replace(request, context={**request.context, value[0]: value[1]})
    # Every text of the dialogue becomes the word.
    messages = [{**message, "content": value} for message in messages_of(request.context)]
    return replace(request, context={**request.context, "messages": messages})


def slotted(kind: str, reads: Reads) -> Sequence[Any]:
    """Return what fills the slots of a kind, in order."""
    if kind == "switch":
        values: Sequence[Any] = reads.settings
    elif kind == "clock":
        dates = (date for word in reads.words for date in _DATE.findall(word))
        clocks = (f"{year}-{month or '01'}-{day or '01'}T03:30:00" for year, month, day in dates)
        values = list(dict.fromkeys(clocks))
    else:
        values = reads.words if kind == "word" else [" ".join(reads.words)] * bool(reads.words)
    return values[: SLOTS[kind]]
