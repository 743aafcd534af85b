"""The dialogues that every chat template renders; they lie in data/dialogues.json."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files

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
    """One dialogue, and what it shows of a template."""

    name: str
    messages: tuple[Mapping[str, object], ...]
    tells: str
    must: bool = False
    """Whether a template that cannot render it is of no use; of the others a report only says so."""
    tools: tuple[Mapping[str, object], ...] | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    """What else the template is given, as `enable_thinking`."""
    generation: bool = True
    """Whether to ask for the beginning of the answer (`add_generation_prompt`)."""

    def texts(self) -> tuple[str, ...]:
        """Return the messages' own texts, without white space around them."""
        texts: list[str] = []
        for message in self.messages:
            content = message.get("content")
            texts += [content] if isinstance(content, str) else []
            texts += [part["text"] for part in content] if isinstance(content, list) else []
        return tuple(text.strip() for text in texts if text.strip())


@functools.cache
def probes() -> tuple[Probe, ...]:
    """Return all dialogues, in the order of reports."""
    data = json.loads(files("mlx_publish").joinpath("data/dialogues.json").read_text(encoding="utf-8"))
    dialogues = []
    for entry in data["probes"]:
        # `true` stands for the tools that all dialogues share.
        own = data["tools"] if entry.get("tools") is True else entry.get("tools")
        dialogues.append(
            Probe(
                name=entry["name"],
                messages=tuple(entry["messages"]),
                tells=entry["tells"],
                must=entry.get("must", False),
                tools=tuple(own) if isinstance(own, list) else None,
                options=entry.get("options", {}),
                generation=entry.get("generation", True),
            )
        )
    return tuple(dialogues)
