"""What a chat template puts behind an assistant's text: the token that ends a turn."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from mlx_publish.template.dialogues import ANSWER, NEXT
from mlx_publish.template.look import Look


@dataclass(frozen=True)
class TurnEnd:
    """The end of a turn."""

    text: str | None = None
    """The first token of its own behind the assistant's text; else that text up to the next turn's; else None."""
    special: bool = False
    """Whether it is a token of its own."""
    error: str | None = None
    """Why nothing is known; the text is None then."""


def turn_end(seen: Look, tokens: Collection[str]) -> TurnEnd:
    """Read it off two dialogues; `tokens` are the texts of all added tokens."""
    texts = [seen.rendered[name] for name in ("first turn", "several turns")]
    if error := next((f"{one.error}" for one in texts if one.text is None), None):
        return TurnEnd(error=error)
    if any(ANSWER not in (one.text or "") for one in texts):
        return TurnEnd(error="the template does not show the assistant's text")
    # Behind the last turn some templates put another token than between two turns, so that is looked at first.
    tails = [(one.text or "").rpartition(ANSWER)[2].partition(NEXT)[0] for one in texts]
    pattern = re.compile("|".join(map(re.escape, sorted(filter(None, tokens), key=len, reverse=True))) or r"(?!)")
    for tail in tails:
        if match := pattern.search(tail):
            return TurnEnd(match.group(), special=True)
    plain = next((tail for tail in tails if tail.strip()), tails[-1])
    return TurnEnd(plain[:200] or None)
