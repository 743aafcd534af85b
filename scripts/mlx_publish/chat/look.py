"""Render every dialogue with a model's chat templates, and keep the results."""

from __future__ import annotations

import functools
import itertools
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mlx_publish.chat.child import Reading, work_through
from mlx_publish.chat.dialogues import Probe, probes
from mlx_publish.chat.provoking import SLOTS, slotted
from mlx_publish.chat.rendering import Rendered, Request
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
        """The names that the templates look up and set nowhere."""
        return self.reads.variables

    @property
    def probes(self) -> tuple[Probe, ...]:
        """All dialogues that they rendered."""
        return (*probes(), *self.switched)

    def text(self, name: str) -> str | None:
        """Return the rendered text of a dialogue, or None if there is none."""
        return self.rendered[name].text

    @property
    def unsafe(self) -> tuple[tuple[str, Rendered], ...]:
        """Usual dialogues at which the template broke out of its limits or reached for what is forbidden.

        One that calls itself without end on some tools alone is refused there, as by transformers, and ends by itself.
        """
        needed = {probe.name for probe in self.probes if probe.must}
        return tuple(
            (name, rendering)
            for name, rendering in self.rendered.items()
            if rendering.kind in ("unsafe", "forbidden") or (rendering.kind == "nested" and name in needed)
        )


def look(templates: Mapping[str, str], special_tokens: Mapping[str, str]) -> Look:
    """Render all dialogues in a child process with limits; the same templates are rendered once.

    Raises `Refused` if no template applies unasked.
    """
    return _look(tuple(sorted(templates.items())), tuple(sorted(special_tokens.items())))


@functools.lru_cache(maxsize=8)
def _look(by_name: tuple[tuple[str, str], ...], by_role: tuple[tuple[str, str], ...]) -> Look:
    templates, special_tokens = dict(by_name), dict(by_role)
    if "default" not in templates:
        raise Refused(
            f"of the chat templates {', '.join(sorted(templates))} none is the default",
            check="chat-template",
            remedy="Name the one that applies unasked 'default' in the source.",
        )
    if taken := sorted(_GIVEN & special_tokens.keys()):
        raise Refused(
            f"a special token is named {taken[0]!r}, under which every chat template is given something else",
            check="chat-template",
            remedy="Correct extra_special_tokens in the source's tokenizer_config.json.",
        )
    return _rendered_by(templates, special_tokens, Chance.of(secrets.randbits(48), templates))


def _rendered_by(templates: Mapping[str, str], special_tokens: Mapping[str, str], chance: Chance) -> Look:
    """Ask one child for everything: a start takes longer than hundreds of renderings."""

    def ask(probe: Probe, now: str = NOW) -> Request:
        return request_of(probe, templates, special_tokens, now)

    later = [probe for probe in probes() if probe.name in LATER_PROBES]
    first = [*(ask(probe) for probe in probes()), *(ask(probe, LATER) for probe in later)]
    switches = [replace(ask(probes()[0]), slot=("switch", number)) for number in range(SLOTS["switch"])]
    rest = [switches, provoking(ask, NOW), chance.requests(ask), asked_by_name(ask, templates, NOW)]
    answers = work_through([*first, Reading(tuple(templates.values())), *itertools.chain.from_iterable(rest)])
    reading = answers.pop(len(first))
    reads = reading if isinstance(reading, Reads) else Reads()
    renderings = iter([answer for answer in answers if isinstance(answer, Rendered)])
    usual, again, switched, waited, by_chance, by_name = (
        list(itertools.islice(renderings, len(part))) for part in (probes(), later, *rest)
    )
    settings = tuple(
        Probe(f"{name}={json.dumps(value)}", probes()[0].messages, f"what {name} changes", options={name: value})
        for name, value in slotted("switch", reads)
    )
    rendered = dict(zip((probe.name for probe in (*probes(), *settings)), (*usual, *switched), strict=False))
    after = dict(zip((probe.name for probe in later), again, strict=True))
    odd = [*provoked(waited, reads), *chance.odd(by_chance, rendered), *harmed(by_name, templates)]
    if isinstance(reading, Rendered) and reading.kind == "unsafe":
        odd.insert(0, Odd(f"{reading.error} (when its variables were looked up)", reading.kind, {}))
    return Look(templates, special_tokens, rendered, after, reads, settings, tuple(odd))


def shared(first: Sequence[object], second: Sequence[object]) -> int:
    """Return how many characters two texts, or ids two prompts, have in common at their beginning."""
    for number, (left, right) in enumerate(zip(first, second, strict=False)):
        if left != right:
            return number
    return min(len(first), len(second))


def template_for(templates: Mapping[str, str], probe: Probe) -> str:
    """Return the template that transformers takes: one for tools where tools are given and there is one."""
    return templates.get("tool_use", templates["default"]) if probe.tools is not None else templates["default"]


def context_of(probe: Probe, special_tokens: Mapping[str, str]) -> dict[str, object]:
    """Return all that the template is given."""
    return {
        "messages": [dict(message) for message in probe.messages],
        "tools": None if probe.tools is None else [dict(tool) for tool in probe.tools],
        "documents": None,
        "add_generation_prompt": probe.generation,
        **special_tokens,
        **probe.options,
    }


def request_of(probe: Probe, templates: Mapping[str, str], special_tokens: Mapping[str, str], now: str) -> Request:
    """Return the request to render a dialogue."""
    return Request(template_for(templates, probe), context_of(probe, special_tokens), now)
