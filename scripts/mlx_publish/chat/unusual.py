"""What a template is tried with besides our own dialogues, and what went wrong there: drawn and provoked dialogues."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mlx_publish.chat.dialogues import Probe, probes
from mlx_publish.chat.drawn import Drawn, difference, drawn
from mlx_publish.chat.provoking import SLOTS, slotted
from mlx_publish.chat.rendering import Rendered, Request
from mlx_publish.chat.variables import Reads

Ask = Callable[[Probe, str], Request]
"""Makes a request of a dialogue and a time."""
HARMFUL = ("unsafe", "forbidden")
_QUOTED = 200  # characters of a text in a report
_WITH: Mapping[str, str] = {
    "word": "the text {!r}",
    "words": "all texts that it compares with",
    "clock": "the clock at {}",
}


@dataclass(frozen=True)
class Odd:
    """A rendering that went otherwise than that of a usual dialogue like it."""

    message: str
    kind: str
    details: Mapping[str, object]


def provoking(ask: Ask, now: str) -> list[Request]:
    """Return the first dialogue once for each slot, into which the child puts what the template itself names."""
    request = ask(probes()[0], now)
    return [replace(request, slot=(kind, number)) for kind in _WITH for number in range(SLOTS[kind])]


def provoked(answers: Sequence[Rendered], reads: Reads) -> Iterator[Odd]:
    """Yield the answers that broke out of their limits; what else a template does at its own texts is its affair."""
    slots = [(kind, number) for kind in _WITH for number in range(SLOTS[kind])]
    for (kind, number), answer in zip(slots, answers, strict=True):
        if answer.kind in HARMFUL:
            values = slotted(kind, reads)
            what = _WITH[kind].format(values[number]) if number < len(values) else "what it names"
            yield Odd(f"{answer.error} (dialogue 'user' with {what})", answer.kind, {})


def further(templates: Mapping[str, str]) -> list[str]:
    """Return the names of templates that apply only where a caller names them."""
    return sorted(templates.keys() - {"default", "tool_use"})


def asked_by_name(ask: Ask, templates: Mapping[str, str], now: str) -> list[Request]:
    """Return the first dialogue, with tools and without, for each of the further templates."""
    two = [probe for probe in probes() if probe.name in ("user", "tools")]
    return [replace(ask(probe, now), template=templates[name]) for name in further(templates) for probe in two]


def harmed(answers: Sequence[Rendered], templates: Mapping[str, str]) -> Iterator[Odd]:
    """Yield the answers that broke out of their limits; whether others are right depends on what they are made for."""
    names = [name for name in further(templates) for _ in range(2)]
    for name, answer in zip(names, answers, strict=True):
        if answer.kind in HARMFUL:
            yield Odd(f"{answer.error} (the template of the name {name[:_QUOTED]!r})", answer.kind, {})


@dataclass(frozen=True)
class Chance:
    """Dialogues drawn from a seed."""

    seed: int
    dialogues: tuple[Drawn, ...]

    @classmethod
    def of(cls, seed: int, templates: Mapping[str, str]) -> Chance:
        """Draw them; more clocks for templates that ask for the time."""
        clock = any("strftime_now" in text for text in templates.values())
        return cls(seed, drawn(seed, {probe.name: probe for probe in probes()}, clock=clock))

    def requests(self, ask: Ask) -> list[Request]:
        """Return a request for each dialogue."""
        return [ask(dialogue.probe, dialogue.now) for dialogue in self.dialogues]

    def odd(self, answers: Sequence[Rendered], usual: Mapping[str, Rendered]) -> Iterator[Odd]:
        """Yield the answers that went otherwise than the usual ones."""
        slowest = max(rendering.seconds for rendering in usual.values())
        for dialogue, answer in zip(self.dialogues, answers, strict=True):
            if message := difference(dialogue, answer, usual[dialogue.like], slowest):
                kind = answer.kind if answer.kind in HARMFUL else "odd"
                texts = [str(turn.get("content"))[:_QUOTED] for turn in dialogue.probe.messages]
                details = {"seed": self.seed, "clock": dialogue.now, "like": dialogue.like, "texts": texts}
                yield Odd(f"{message} (a dialogue drawn like {dialogue.like!r}, at {dialogue.now})", kind, details)
