"""The dialogues that every chat template is shown; they lie in data/dialogues.json."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

QUESTION = "What is an eclipse?"
ANSWER = "One body moves into the shadow of another."
NEXT = "How long does a total one last?"
SYSTEM = "Answer as a friendly astronomer."
REASONING = "First I recall what a shadow is."
TOOL = "eclipse_times"
CALL_DATE = "2026-08-12"
RESULT = "19:32"
SECOND_DATE, SECOND_RESULT = "2027-08-02", "09:41"
SEVERAL_TYPES = "bool"
"""How a type of a parameter that may be of several begins, in JSON Schema and in Python."""
FORMS = ("mapping", "string")
"""Of a call's arguments; dialogues with calls are there in both."""


@dataclass(frozen=True)
class Probe:
    """One dialogue, and what it tells of a template."""

    name: str
    messages: tuple[Mapping[str, Any], ...]
    tells: str
    must: bool = False
    """Whether a template that cannot render it is of no use; everything else is only told."""
    tools: tuple[Mapping[str, Any], ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    """What else the template is given, as `enable_thinking`."""
    generation: bool = True
    """Whether the answer's beginning is asked for (`add_generation_prompt`)."""

    def texts(self) -> tuple[str, ...]:
        """The messages' own texts, without white space around them."""
        contents = (message.get("content") for message in self.messages)
        return tuple(text.strip() for content in contents for text in _parts(content) if text.strip())


def _parts(content: object) -> tuple[str, ...]:
    if isinstance(content, str):
        return (content,)
    return tuple(part["text"] for part in content) if isinstance(content, list) else ()


@functools.cache
def probes() -> tuple[Probe, ...]:
    """All of them, in the order in which they are told."""
    data = json.loads(files("mlx_publish").joinpath("data/dialogues.json").read_text(encoding="utf-8"))
    return tuple(_probe(entry, tuple(data["tools"])) for entry in data["probes"])


def _probe(entry: Mapping[str, Any], tools: tuple[Mapping[str, Any], ...]) -> Probe:
    own = entry.get("tools")
    return Probe(
        name=entry["name"],
        messages=tuple(entry["messages"]),
        tells=entry["tells"],
        must=entry.get("must", False),
        tools=tuple(own) if isinstance(own, list) else tools if own else None,
        options=entry.get("options", {}),
        generation=entry.get("generation", True),
    )
