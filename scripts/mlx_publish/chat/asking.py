"""Whether a prompt leads up to the answer, be it that a template writes the head of the answer unasked."""

from __future__ import annotations

import re

from mlx_publish.chat.capabilities import generation_prompt
from mlx_publish.chat.dialogues import ANSWER, NEXT, QUESTION
from mlx_publish.chat.look import Look, shared

# Names by which templates call who answers; looked for where no dialogue shows an answer's head.
_ANSWERS = re.compile(r"assistant|chatbot|\bmodel\b|\bgpt\b|\bbot\b|\bAI\b|answer|response|output", re.IGNORECASE)


def answer_head(look: Look) -> str | None:
    """What a prompt ends in that leads up to the answer; None where it ends with the user's turn."""
    return generation_prompt(look) or _written_always(look)


def _written_always(look: Look) -> str | None:
    """The end of a prompt, where it is the beginning of what stands in front of an answer in a dialogue."""
    after = (look.text("user") or "").rpartition(QUESTION)[2]
    question, answer, rest = (look.text("first turn") or "").partition(QUESTION)[2].partition(ANSWER)
    if not answer:
        return after if _ANSWERS.search(after) else None
    if after.rstrip() == question.rstrip():
        return after
    # A guard's template closes the dialogue it is to judge in the same way, whoever spoke last.
    if rest.strip() and rest == after and _ANSWERS.search(after):
        return after
    return after if shared(after, question) > _in_any_turn(question, _between_turns(look)) else None


def _between_turns(look: Look) -> str:
    """What stands between a user's text and the next one's, else between an answer and the next question."""
    two = (look.text("two users") or "").partition(QUESTION)[2].partition(NEXT)
    return two[0] if two[1] else (look.text("several turns") or "").partition(ANSWER)[2].partition(NEXT)[0]


def _in_any_turn(head: str, between: str) -> int:
    """How many characters of an answer's head stand in front of a user's turn, too."""
    return next((length for length in range(len(head), 0, -1) if head[:length] in between), 0)
