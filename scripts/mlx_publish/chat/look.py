"""Show a template every dialogue, and keep what it made of them."""

from __future__ import annotations

import functools
import itertools
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlx_publish.chat.child import Reading, Request, work_through
from mlx_publish.chat.dialogues import Probe, probes
from mlx_publish.chat.provoking import SLOTS, slotted
from mlx_publish.chat.rendering import Rendered
from mlx_publish.chat.unusual import Chance, Odd, asked_by_name, harmed, provoked, provoking
from mlx_publish.chat.variables import Reads
from mlx_publish.errors import Refused

NOW = "2026-03-01T12:00:00"
"""The clock that all dialogues are rendered by."""
LATER = "2027-11-23T08:30:00"
LATER_PROBES = ("user", "tools")
"""Dialogues that are rendered once more by a later clock."""
_GIVEN = frozenset(("messages", "tools", "documents", "add_generation_prompt"))


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
    odd: tuple[Odd, ...] = ()
    """What went wrong with drawn and provoked dialogues, of which nothing else is kept: they differ from run to run."""

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
        """Usual dialogues at which the template broke out of its limits or reached for what is forbidden.

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
    if taken := sorted(_GIVEN & special_tokens.keys()):
        raise Refused(
            f"a special token is named {taken[0]!r}, under which every chat template is given something else",
            check="chat-template", remedy="Correct extra_special_tokens in the source's tokenizer_config.json.",
        )  # fmt: skip
    return _told(templates, special_tokens, Chance.of(secrets.randbits(48), templates))


def _told(templates: Mapping[str, str], special_tokens: Mapping[str, str], chance: Chance) -> Look:
    """All is asked of one child, for a start takes longer than hundreds of renderings."""

    def ask(probe: Probe, now: str = NOW) -> Request:
        return request_of(probe, templates, special_tokens, now)

    later = [probe for probe in probes() if probe.name in LATER_PROBES]
    first = [*(ask(probe) for probe in probes()), *(ask(probe, LATER) for probe in later)]
    switches = [replace(ask(probes()[0]), slot=("switch", number)) for number in range(SLOTS["switch"])]
    rest = [switches, provoking(ask, NOW), chance.requests(ask), asked_by_name(ask, templates, NOW)]
    told = work_through([*first, Reading(tuple(templates.values())), *(one for part in rest for one in part)])
    read = told.pop(len(first))
    found = read if isinstance(read, Reads) else Reads()
    answers = iter([one for one in told if isinstance(one, Rendered)])
    usual, again, switched, waited, by_chance, by_name = (
        list(itertools.islice(answers, len(part))) for part in (probes(), later, *rest)
    )
    dialogues = [*probes(), *_switched(found)]
    rendered = dict(zip((probe.name for probe in dialogues), (*usual, *switched), strict=False))
    odd = (*_unread(read), *provoked(waited, found), *chance.odd(by_chance, rendered), *harmed(by_name, templates))
    after = dict(zip((probe.name for probe in later), again, strict=True))
    return Look(templates, special_tokens, rendered, after, found, _switched(found), odd)


def _unread(read: Rendered | Reads) -> Iterator[Odd]:
    """What went wrong where a template was merely parsed."""
    if isinstance(read, Rendered) and read.kind == "unsafe":
        yield Odd(f"{read.error} (when its variables were looked up)", read.kind, {})


def _switched(found: Reads) -> tuple[Probe, ...]:
    """The question of the first dialogue with each switch set to each of its values."""
    return tuple(
        Probe(f"{name}={json.dumps(value)}", probes()[0].messages, f"what {name} changes", options={name: value})
        for name, value in slotted("switch", found)
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


def request_of(probe: Probe, templates: Mapping[str, str], special_tokens: Mapping[str, str], now: str) -> Request:
    """A dialogue as the child is asked to render it."""
    return Request(template_for(templates, probe), context_of(probe, special_tokens), now)
