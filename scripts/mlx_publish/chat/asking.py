"""Whether a prompt leads up to the answer, also where a template writes the head of the answer unasked."""

from __future__ import annotations

import re

from mlx_publish.chat.capabilities import generation_prompt
from mlx_publish.chat.dialogues import ANSWER, NEXT, QUESTION
from mlx_publish.chat.look import Look, shared

# Names that templates give to the side that answers; they decide where no dialogue shows an answer's head.
_ANSWERS = re.compile(r"assistant|chatbot|\bmodel\b|\bgpt\b|\bbot\b|\bAI\b|answer|response|output", re.IGNORECASE)


def answer_head(look: Look) -> str | None:
    """Return the end of a prompt that leads up to the answer; None if it ends with the user's turn.

    That is what `add_generation_prompt` adds, or else the end of a prompt that begins as an answer in a dialogue does.
    """
    if prompt := generation_prompt(look):
        return prompt
    after = (look.text("user") or "").rpartition(QUESTION)[2]
    question, answer, rest = (look.text("first turn") or "").partition(QUESTION)[2].partition(ANSWER)
    if not answer:
        return after if _ANSWERS.search(after) else None
    if after.rstrip() == question.rstrip():
        return after
    # A guard's template closes the dialogue it is to judge in the same way, whoever spoke last.
    if rest.strip() and rest == after and _ANSWERS.search(after):
        return after
    # What stands between two users' texts, else between an answer and the next question.
    between, second, _ = (look.text("two users") or "").partition(QUESTION)[2].partition(NEXT)
    if not second:
        between = (look.text("several turns") or "").partition(ANSWER)[2].partition(NEXT)[0]
    # So many characters of an answer's head stand in front of a user's turn, too.
    in_any_turn = next((length for length in range(len(question), 0, -1) if question[:length] in between), 0)
    return after if shared(after, question) > in_any_turn else None
