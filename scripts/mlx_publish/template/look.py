"""Show a template every dialogue, and keep what it made of them."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlx_publish.errors import Refused
from mlx_publish.template.child import Request, render_all
from mlx_publish.template.dialogues import Probe, probes
from mlx_publish.template.rendering import Rendered
from mlx_publish.template.variables import Reads, reads

NOW = "2026-03-01T12:00:00"
"""The clock that all dialogues are rendered by."""
LATER = "2027-11-23T08:30:00"
LATER_PROBES = ("user", "tools")
"""Dialogues that are rendered once more by a later clock."""


@dataclass(frozen=True)
class Look:
    """What a model's templates made of the dialogues, by the dialogue's name."""

    templates: Mapping[str, str]
    special_tokens: Mapping[str, str]
    rendered: Mapping[str, Rendered]
    later: Mapping[str, Rendered]
    """Some of them at a later date."""
    reads: Reads
    """What the templates read besides what every caller gives."""
    switched: tuple[Probe, ...] = ()
    """Dialogues made for these templates: one question with each value of their own switches for thinking."""

    @property
    def variables(self) -> frozenset[str]:
        """Names that the templates look up and set nowhere."""
        return self.reads.variables

    @property
    def probes(self) -> tuple[Probe, ...]:
        """All dialogues that they were shown."""
        return (*probes(), *self.switched)

    def text(self, name: str) -> str | None:
        """The rendered text, None where there is none."""
        return self.rendered[name].text

    @property
    def unsafe(self) -> tuple[tuple[str, Rendered], ...]:
        """Dialogues at which the template broke out of its limits or reached for what is forbidden.

        One that calls itself without end on some tools alone is refused there, as by transformers, and ends by itself.
        """
        needed = {probe.name for probe in self.probes if probe.must}
        return tuple(
            (name, one)
            for name, one in self.rendered.items()
            if one.kind in ("unsafe", "forbidden") or (one.kind == "nested" and name in needed)
        )


def look(templates: Mapping[str, str], special_tokens: Mapping[str, str]) -> Look:
    """Render all dialogues in a child process with limits; the same templates are rendered once.

    Raises `Refused` where no template applies unasked.
    """
    return _look(tuple(sorted(templates.items())), tuple(sorted(special_tokens.items())))


@functools.lru_cache(maxsize=8)
def _look(by_name: tuple[tuple[str, str], ...], by_role: tuple[tuple[str, str], ...]) -> Look:
    templates, special_tokens = dict(by_name), dict(by_role)
    if "default" not in templates:
        raise Refused(
            f"of the chat templates {', '.join(sorted(templates))} none is the default",
            check="chat-template", remedy="Name the one that applies unasked 'default' in the source.",
        )  # fmt: skip
    found = read_by(templates)
    shown = (*probes(), *(switched := _switched(found)))
    again = [probe for probe in probes() if probe.name in LATER_PROBES]
    asked = [(probe, NOW) for probe in shown] + [(probe, LATER) for probe in again]
    answers = render_all([_request(probe, templates, special_tokens, now) for probe, now in asked])
    return Look(
        templates, special_tokens,
        rendered={probe.name: one for probe, one in zip(shown, answers, strict=False)},
        later={probe.name: one for probe, one in zip(again, answers[len(shown) :], strict=True)},
        reads=found, switched=switched,
    )  # fmt: skip


def read_by(templates: Mapping[str, str]) -> Reads:
    """What all templates of a model read."""
    found = [reads(text) for text in templates.values()]
    return Reads(
        frozenset(name for one in found for name in one.variables),
        frozenset(name for one in found for name in one.bare),
        {name: values for one in reversed(found) for name, values in one.switches.items()},
    )


def _switched(found: Reads) -> tuple[Probe, ...]:
    """The question of the first dialogue with each switch set to each of its values."""
    return tuple(
        Probe(f"{name}={json.dumps(value)}", probes()[0].messages, f"what {name} changes", options={name: value})
        for name, values in found.switches.items()
        for value in values
    )


def shared(one: Sequence[object], other: Sequence[object]) -> int:
    """How many characters two texts, or ids two prompts, have in common at their beginning."""
    for number, (first, second) in enumerate(zip(one, other, strict=False)):
        if first != second:
            return number
    return min(len(one), len(other))


def template_for(templates: Mapping[str, str], probe: Probe) -> str:
    """The template that transformers takes: one for tools where tools are given and there is one."""
    return templates.get("tool_use", templates["default"]) if probe.tools is not None else templates["default"]


def context_of(probe: Probe, special_tokens: Mapping[str, str]) -> dict[str, Any]:
    """All that the template is given."""
    return {
        "messages": [dict(message) for message in probe.messages],
        "tools": None if probe.tools is None else [dict(tool) for tool in probe.tools],
        "documents": None,
        "add_generation_prompt": probe.generation,
        **special_tokens,
        **probe.options,
    }


def _request(probe: Probe, templates: Mapping[str, str], special_tokens: Mapping[str, str], now: str) -> Request:
    return Request(template_for(templates, probe), context_of(probe, special_tokens), now)
