"""What the engine measures of a model that sees or hears: its answers, and how far it is moved by what it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlx_publish.evidence.measured import Answer, RenderedText


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


@dataclass(frozen=True)
class SlotsRendered:
    """Dialogues with media, by name; `users` is the one that the library's own helper makes for the question."""

    dialogues: Mapping[str, Slots]
    users: str = ""
    """How the library writes a picture into a message: `parts`, `text` where it puts a token into the text, `none`."""
    template: bool = True
    """Whether the source has a chat template."""
    warnings: Sequence[str] = field(default_factory=tuple)
