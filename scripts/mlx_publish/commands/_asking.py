"""Questions on a terminal, each with its default in brackets; elsewhere the flag that answers it is named."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from mlx_publish.errors import BadInput, Interrupted
from mlx_publish.text.console import Console

_TRIES = 3


@dataclass(frozen=True)
class Question:
    """What is asked, the flag that answers it, and what is taken where nobody answers."""

    text: str
    flag: str
    default: str | None = None
    """None where an answer is needed."""
    judge: Callable[[str], object] = str
    """Raises `BadInput` for an answer that cannot be taken."""


@dataclass(frozen=True)
class Asker:
    """Answers questions by flags, by a person, or by their defaults."""

    console: Console
    asks: bool
    """Whether somebody is there to answer."""
    asks_all: bool = True
    """Whether questions that have a default are asked, too."""

    def answer(self, question: Question, given: str | None) -> str:
        """Return the flag's value, else what a person types, else the default. Raises `BadInput` without any."""
        if given is not None:
            question.judge(given)
            return given
        if self.asks and (self.asks_all or question.default is None):
            return self._typed(question)
        if question.default is None:
            raise BadInput(
                "is missing, and there is no terminal to ask on",
                place=question.flag,
                remedy=f"Run the same command again with {question.flag}.",
            )
        return question.default

    def _typed(self, question: Question) -> str:
        shown = f" [{question.default}]" if question.default else ""
        for _ in range(_TRIES):
            self.console.out.write(f"{question.text}{shown}: ")
            self.console.out.flush()
            line = sys.stdin.readline()
            if not line:
                raise Interrupted("interrupted")
            text = line.strip() or question.default
            if text is None:
                self.console.say("This question needs an answer.")
                continue
            try:
                question.judge(text)
            except BadInput as error:
                self.console.say(error.message + (f" {error.remedy}" if error.remedy else ""))
                continue
            return text
        raise BadInput("no usable answer after three tries", place=question.flag, remedy="Give the flag instead.")


def is_interactive(console: Console) -> bool:
    """Tell whether somebody can read a question and answer it."""
    return sys.stdin is not None and sys.stdin.isatty() and console.out.isatty()
