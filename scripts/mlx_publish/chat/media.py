"""What a model is shown or played beside a question, and what a right answer says."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

MOST_TOKENS = 24
"""Of an answer about a picture or a sound."""
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGITS = {str(number): word for number, word in enumerate(NUMBERS)}


@dataclass(frozen=True)
class Medium:
    """A picture or a sound, with its question."""

    kind: ClassVar[str]
    """`picture` or `sound`."""
    ending: ClassVar[str]
    """Of the name of its file."""
    name: str
    question: str
    right: tuple[str, ...]
    """Words of a right answer: all of them, or the first of `choices` that it names. A digit counts as its word."""
    choices: tuple[str, ...]
    """Words that the question leaves to choose from; empty where all of `right` must be there."""
    shows: str
    """What is to be perceived, for people."""

    @property
    def file_name(self) -> str:
        """The name of its file."""
        return f"{self.name}.{self.ending}"

    def file(self) -> bytes:
        """Return its file, the same bytes on every machine."""
        raise NotImplementedError

    def answered(self, answer: str) -> bool:
        """Return whether an answer is right, whatever else it says."""
        said = [_DIGITS.get(word, word) for word in re.findall(r"[^\W\d]+|\d", answer.casefold())]
        if not self.choices:
            return set(self.right) <= set(said)
        return next((word for word in said if word in self.choices), None) in self.right


@dataclass(frozen=True)
class Contrast:
    """Two media under the question of the first one."""

    name: str
    one: Medium
    other: Medium

    @property
    def plain(self) -> bool:
        """Whether the other one shows nothing, so that there is nothing to ask about it."""
        return not self.other.right


def asked_in(contrasts: Iterable[Contrast]) -> tuple[Medium, ...]:
    """Return the media that are asked about, each once, in order."""
    both = (medium for contrast in contrasts for medium in (contrast.one, contrast.other) if medium.right)
    return tuple({medium.name: medium for medium in both}.values())


WITHOUT = "What is to be perceived here?"
"""A question, before anything is put beside it."""


def dialogues(kind: str) -> dict[str, list[dict[str, Any]]]:
    """Return dialogues with a kind of medium in their content, by name."""
    medium: dict[str, Any] = {"type": "image" if kind == "picture" else "audio"}
    words = {"type": "text", "text": WITHOUT}
    turn = {"role": "user", "content": [medium, words]}
    before = [
        {"role": "user", "content": [{"type": "text", "text": "Hello!"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Good day."}]},
    ]
    system = {"role": "system", "content": [{"type": "text", "text": "Answer briefly."}]}
    return {
        f"{kind} first": [turn],
        f"{kind} last": [{"role": "user", "content": [words, medium]}],
        f"two {kind}s": [{"role": "user", "content": [medium, medium, words]}],
        f"{kind} in a later turn": [*before, turn],
        f"{kind} under a system prompt": [system, turn],
    }
