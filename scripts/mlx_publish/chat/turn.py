"""What a chat template puts behind an assistant's text: the token that ends a turn."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from mlx_publish.chat.asking import answer_head
from mlx_publish.chat.dialogues import ANSWER, NEXT, QUESTION
from mlx_publish.chat.look import Look, shared

# What is meant as a token: a model that was taught to write it as plain text does not stop at it.
_MARK = re.compile(r"<[^<>\s]{1,40}>|\[[^\[\]\s]{1,40}\]")


@dataclass(frozen=True)
class TurnEnd:
    """The end of a turn."""

    text: str | None = None
    """The first token of its own behind the assistant's text; else that text up to the next turn's; else None."""
    special: bool = False
    """Whether it is a token of its own."""
    mark: bool = False
    """Whether a text of its own closes an answer, though the tokenizer reads it as plain text."""
    error: str | None = None
    """Why nothing is known; the text is None then."""

    @property
    def stop(self) -> str | None:
        """Return what generation has to stop at; None if the end token alone ends an answer, as in Alpaca."""
        return self.text if self.special or self.mark else None


def turn_end(look: Look, tokens: Collection[str]) -> TurnEnd:
    """Return what ends a turn, by two dialogues; `tokens` are the texts of all added tokens."""
    texts = [look.rendered[name] for name in ("first turn", "several turns")]
    if error := next((f"{rendering.error}" for rendering in texts if rendering.text is None), None):
        return TurnEnd(error=error)
    if any(ANSWER not in (rendering.text or "") for rendering in texts):
        return TurnEnd(error="the template does not show the assistant's text")
    # Behind the last turn some templates put another token than between two turns, so that counts first.
    tails = [(rendering.text or "").rpartition(ANSWER)[2].partition(NEXT)[0] for rendering in texts]
    pattern = re.compile("|".join(map(re.escape, sorted(filter(None, tokens), key=len, reverse=True))) or r"(?!)")
    for tail in tails:
        if match := pattern.search(tail):
            return TurnEnd(match.group(), special=True)
    plain = next((tail for tail in tails if tail.strip()), tails[-1])
    return TurnEnd(plain[:200] or None, mark=_closes(tails[0], tails[-1], look))


def _closes(last: str, between: str, look: Look) -> bool:
    """Return whether an answer is closed by the same words behind the last one and between two turns, or by marks."""
    head = answer_head(look)
    last = last.removesuffix(head) if head else last
    closing = last[: shared(last, between)]
    # Between two turns without what the template writes in front of a user's text.
    opening = (look.text("user") or "").partition(QUESTION)[0]
    between = between[: len(between) - shared(between[::-1], opening[::-1])]
    return bool(closing.strip() or _MARK.search(last) or _MARK.search(between))
