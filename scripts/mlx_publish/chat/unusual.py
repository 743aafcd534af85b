"""What a template is tried with besides our own dialogues, and what went wrong there: drawn and provoked dialogues."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlx_publish.chat.child import Request
from mlx_publish.chat.dialogues import Probe, probes
from mlx_publish.chat.drawn import Drawn, difference, drawn
from mlx_publish.chat.provoking import SLOTS, slotted
from mlx_publish.chat.rendering import Rendered
from mlx_publish.chat.variables import Reads

Ask = Callable[[Probe, str], Request]
"""Makes a request of a dialogue and a time."""
HARMFUL = ("unsafe", "forbidden")
_TOLD = 200  # characters of a text that is told
_WITH: Mapping[str, str] = {
    "word": "the text {!r}", "words": "all texts that it compares with", "clock": "the clock at {}",
}  # fmt: skip


@dataclass(frozen=True)
class Odd:
    """A rendering that went otherwise than that of a usual dialogue like it."""

    said: str
    kind: str
    details: Mapping[str, Any]


def provoking(ask: Ask, now: str) -> list[Request]:
    """The first dialogue with what the template itself names, put in by the child."""
    asked = ask(probes()[0], now)
    return [replace(asked, slot=(kind, number)) for kind in _WITH for number in range(SLOTS[kind])]


def provoked(answers: Sequence[Rendered], found: Reads) -> Iterator[Odd]:
    """Yield those that broke out of their limits; what else a text that a template waits for does is its own affair."""
    slots = [(kind, number) for kind in _WITH for number in range(SLOTS[kind])]
    for (kind, number), one in zip(slots, answers, strict=True):
        if one.kind in HARMFUL:
            values = slotted(kind, found)
            what = _WITH[kind].format(values[number]) if number < len(values) else "what it names"
            yield Odd(f"{one.error} (dialogue 'user' with {what})", one.kind, {})


def further(templates: Mapping[str, str]) -> list[str]:
    """Names of templates that apply only where a caller names them."""
    return sorted(templates.keys() - {"default", "tool_use"})


def asked_by_name(ask: Ask, templates: Mapping[str, str], now: str) -> list[Request]:
    """The first dialogue with tools and without, by each of the further templates."""
    two = [probe for probe in probes() if probe.name in ("user", "tools")]
    return [replace(ask(probe, now), template=templates[name]) for name in further(templates) for probe in two]


def harmed(answers: Sequence[Rendered], templates: Mapping[str, str]) -> Iterator[Odd]:
    """Yield those that broke out of their limits; what else they do is not known without what they are made for."""
    names = [name for name in further(templates) for _ in range(2)]
    for name, one in zip(names, answers, strict=True):
        if one.kind in HARMFUL:
            yield Odd(f"{one.error} (the template of the name {name[:_TOLD]!r})", one.kind, {})


@dataclass(frozen=True)
class Chance:
    """Dialogues that are drawn by a number."""

    seed: int
    dialogues: tuple[Drawn, ...]

    @classmethod
    def of(cls, seed: int, templates: Mapping[str, str]) -> Chance:
        """Draw them; more clocks for templates that ask for the time."""
        clock = any("strftime_now" in text for text in templates.values())
        return cls(seed, drawn(seed, {probe.name: probe for probe in probes()}, clock=clock))

    def requests(self, ask: Ask) -> list[Request]:
        """All of them."""
        return [ask(one.probe, one.now) for one in self.dialogues]

    def odd(self, answers: Sequence[Rendered], usual: Mapping[str, Rendered]) -> Iterator[Odd]:
        """Yield those that went otherwise than the usual ones."""
        slowest = max(one.seconds for one in usual.values())
        for one, found in zip(self.dialogues, answers, strict=True):
            if said := difference(one, found, usual[one.like], slowest):
                kind = found.kind if found.kind in HARMFUL else "odd"
                texts = [str(message.get("content"))[:_TOLD] for message in one.probe.messages]
                details = {"seed": self.seed, "clock": one.now, "like": one.like, "texts": texts}
                yield Odd(f"{said} (a dialogue drawn like {one.like!r}, at {one.now})", kind, details)
