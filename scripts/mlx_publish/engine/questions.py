"""The prompts of questions, as text and ids: by the chat template, or the plain text where there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlx_publish.engine.prompts import finished
from mlx_publish.errors import Refused
from mlx_publish.evidence.measured import Question

Prompt = tuple[str, list[int]]


@dataclass(frozen=True)
class Prompts:
    """Calls that make prompts, each by the words for its question, and how to take their results."""

    calls: Mapping[str, Callable[[], Prompt]]
    names: Mapping[str, str]

    def of(self, made: Mapping[str, Prompt | Exception]) -> dict[str, Prompt]:
        """Return the prompts by question. Raises `Refused` if the template cannot render one."""
        answers: dict[str, Prompt] = {}
        for call, name in self.names.items():
            if isinstance(prompt := made[call], Exception):
                raise Refused(
                    f"the chat template cannot render the question {name!r}: {str(prompt)[:500]}",
                    check="template-renders",
                    remedy="Have the source's template fixed upstream.",
                )
            answers[name] = prompt
        return answers


def prompts(tokenizer: Any, questions: Sequence[Question]) -> Prompts:
    """Return what makes the prompts of questions by a tokenizer, as mlx-lm's users get them."""
    names = {f"question {question.name!r}": question.name for question in questions}
    calls = {call: partial(_prompt, tokenizer, question) for call, question in zip(names, questions, strict=True)}
    return Prompts(calls, names)


def prompts_of(tokenizer: Any, questions: Sequence[Question]) -> dict[str, Prompt]:
    """Return the prompts by question; those that bring theirs along keep it."""
    missing = prompts(tokenizer, [question for question in questions if question.ids is None])
    given = {asked.name: (asked.rendered, list(asked.ids)) for asked in questions if asked.ids is not None}
    return {**given, **missing.of(finished(missing.calls))}


def _prompt(tokenizer: Any, question: Question) -> Prompt:
    if question.messages is None:
        text = _with_long(tokenizer, question, question.prompt)
        return text, [int(id_) for id_ in tokenizer.encode(text)]
    *before, last = question.messages
    messages = [*before, {**last, "content": _with_long(tokenizer, question, str(last["content"]))}]
    options = question.options
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, **options)
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, **options)
    return text, [int(id_) for id_ in ids]


def _with_long(tokenizer: Any, question: Question, text: str) -> str:
    """Put a text of so many tokens in front, repeated until it is long enough."""
    if not question.long_text:
        return text
    ids: list[int] = []
    while len(ids) < question.long_tokens:
        ids += tokenizer.encode(question.long_text, add_special_tokens=False)
    return f"{tokenizer.decode(ids[: question.long_tokens])}\n\n{text}"
