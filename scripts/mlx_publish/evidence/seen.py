"""What the engine measures of a model that sees or hears: its answers, and how far it is moved by what it is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlx_publish.evidence.measured import Answer, RenderedText
from mlx_publish.evidence.records import LEFT_OUT


@dataclass(frozen=True)
class Apart:
    """Log-probabilities along one answer, with each of two media in front of it."""

    tokens: Sequence[int]
    """The answer: the source's to the first medium, cut."""
    ids: Sequence[Sequence[int]]
    """Tokens that are compared at each step: those that the source holds likeliest with either medium."""
    one: Sequence[Sequence[float]]
    """Their log-probabilities with the first medium, in nats."""
    other: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Shown:
    """A medium that was shown, and the answer to its question."""

    answer: Answer
    places: int | None
    """Tokens of the prompt in whose places features of the medium stand; None if the config does not name them."""
    prompt_sha256: str
    """Of the ids of the whole prompt, as JSON."""


@dataclass(frozen=True)
class Perceived:
    """What one model answers to media, by their names, and what they move."""

    computed_in: str
    stop_ids: Sequence[int]
    vocabulary: int
    shown: Mapping[str, Shown]
    apart: Mapping[str, Apart]
    """By the name of the contrast."""
    faults: Mapping[str, str]
    """What the library raises, by medium or contrast."""
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Slots:
    """A dialogue with media as the source's own tokenizer renders it and as what was made of it is rendered."""

    source: RenderedText
    made: RenderedText
    source_without: str = ""
    """The same dialogue without its media."""
    made_without: str = ""


USERS = "by mlx-vlm"
"""The name of the dialogue that mlx-vlm makes of a plain question and a picture, by family."""


@dataclass(frozen=True)
class SlotsRendered:
    """Dialogues with media, by name."""

    dialogues: Mapping[str, Slots]
    users: str = ""
    """How mlx-vlm writes a picture into a message: `parts`, `text` where it puts a token into the text, `none`."""
    template: bool = True
    """Whether the source has a chat template."""
    warnings: Sequence[str] = field(default_factory=tuple)


@dataclass(frozen=True)
class Moved:
    """How far log-probabilities move from one medium to the other: root mean squares in nats."""

    made: float
    source: float | None = field(default=None, metadata=LEFT_OUT)
    """None where the source was not asked."""
    alike: float | None = field(default=None, metadata=LEFT_OUT)
    """Cosine of the angle between both moves: 1 the same, 0 unrelated, -1 the opposite."""


@dataclass(frozen=True)
class MediumAnswer:
    """A picture or sound with its question, as reports and cards show it."""

    name: str
    file: str
    shows: str
    """What is to be perceived."""
    question: str
    answer: str
    right: bool
    prompt_tokens: int
    places: int | None = field(default=None, metadata=LEFT_OUT)
    """Tokens of the prompt that stand for the medium."""
    source_answer: str | None = field(default=None, metadata=LEFT_OUT)
    source_right: bool | None = field(default=None, metadata=LEFT_OUT)


@dataclass(frozen=True)
class Media:
    """What the smoke test reports of a model that sees or hears."""

    computed_in: str
    answers: Sequence[MediumAnswer]
    moved: Mapping[str, Moved]
    """By the name of the contrast."""
    picture_size: int
    """Pixels of both sides of each picture."""
    untested: Mapping[str, str] = field(default_factory=dict)
    """What the model takes, as `audio`, and why it was not tested."""
    most_tokens: int | None = field(default=None, metadata=LEFT_OUT)
    """After which an answer is cut."""


def moved(made: Apart, source: Apart | None) -> Moved:
    """Return how far a model is moved by the difference of two media, beside the source."""
    own = _move(made)
    if source is None:
        return Moved(_root_mean_square(own))
    theirs = _move(source)
    both = sum(a * b for a, b in zip(own, theirs, strict=True))
    length = math.hypot(*own) * math.hypot(*theirs)
    return Moved(_root_mean_square(own), _root_mean_square(theirs), both / length if length else None)


def _move(apart: Apart) -> list[float]:
    """Return by how much each log-probability is another one with the other medium."""
    pairs = zip(apart.one, apart.other, strict=True)
    return [after - before for one, other in pairs for before, after in zip(one, other, strict=True)]


def _root_mean_square(values: Sequence[float]) -> float:
    return math.sqrt(sum(value * value for value in values) / len(values)) if values else 0.0
