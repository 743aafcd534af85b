"""The prompts of questions, as text and ids: by the chat template, or the plain text where there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from mlx_publish.engine.prompts import finished
from mlx_publish.errors import Refused

Question = Mapping[str, Any]
Questions = Sequence[Question]
Prompt = tuple[str, list[int]]


@dataclass(frozen=True)
class Prompts:
    """Calls that make prompts, each by the words for its question, and how to take their results."""

    calls: Mapping[str, Callable[[], Prompt]]
    names: Mapping[str, str]

    def of(self, made: Mapping[str, Any]) -> dict[str, Prompt]:
        """The prompts by question. Raises `Refused` where the template cannot render one."""
        for call, name in self.names.items():
            if isinstance(made[call], Exception):
                raise Refused(
                    f"the chat template cannot render the question {name!r}: {str(made[call])[:500]}",
                    check="template-renders", remedy="Have the source's template mended.",
                )  # fmt: skip
        return {name: made[call] for call, name in self.names.items()}


def prompts(tokenizer: Any, questions: Questions) -> Prompts:
    """What makes the prompts of questions by a tokenizer, as mlx-lm's users get them.

    A question has `messages` and `options` or, where there is no chat template, `prompt`; with `long` (`text`,
    `tokens`) the text's first tokens go in front of the last message.
    """
    names = {f"question {one['name']!r}": one["name"] for one in questions}
    calls = {call: partial(_prompt, tokenizer, one) for call, one in zip(names, questions, strict=True)}
    return Prompts(calls, names)


def prompts_of(tokenizer: Any, questions: Questions) -> dict[str, Prompt]:
    """The prompts by question; those that bring theirs along keep it."""
    asked = prompts(tokenizer, [one for one in questions if "ids" not in one])
    given = {one["name"]: (one["rendered"], one["ids"]) for one in questions if "ids" in one}
    return {**given, **asked.of(finished(asked.calls))}


def _prompt(tokenizer: Any, question: Question) -> Prompt:
    if question.get("messages") is None:
        text = _with_long(tokenizer, question, question["prompt"])
        return text, [int(id_) for id_ in tokenizer.encode(text)]
    *before, last = question["messages"]
    messages = [*before, {**last, "content": _with_long(tokenizer, question, last["content"])}]
    options = question["options"]
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, **options)
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, **options)
    return text, [int(id_) for id_ in ids]


def _with_long(tokenizer: Any, question: Question, text: str) -> str:
    """Put a text of so many tokens in front, repeated until it is long enough."""
    if not (long := question.get("long")):
        return text
    ids: list[int] = []
    while len(ids) < long["tokens"]:
        ids += tokenizer.encode(long["text"], add_special_tokens=False)
    return f"{tokenizer.decode(ids[: long['tokens']])}\n\n{text}"
