"""Documents and dialogues on their way to ids: the source's chat template, and its own tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mlx_publish.engine.prompts import finished
from mlx_publish.engine.tokenizing import own_tokenizer

Dialogues = Sequence[Sequence[Mapping[str, str]]]
Encodable = tuple[str, bool]
"""A text, and whether the tokenizer puts its special tokens around it."""
Encode = Callable[[str, bool], list[int]]


def encoder(folder: Path, tokenizer: Any) -> Encode:
    """Return what makes ids of a text, with the tokenizer's special tokens around it or without."""
    raw = own_tokenizer(folder)

    def encode(text: str, special: bool) -> list[int]:
        if raw is not None:
            return [int(id_) for id_ in raw.encode(text, add_special_tokens=special).ids]
        return [int(id_) for id_ in tokenizer.encode(text, add_special_tokens=special)]

    return encode


def beginning(encode: Encode) -> list[int]:
    """Return the special tokens that the tokenizer puts before a text; some models compute nonsense without them."""
    bare, whole = encode("a", False), encode("a", True)
    return next((whole[:start] for start in range(len(whole)) if whole[start : start + len(bare)] == bare), [])


def rendered(tokenizer: Any, dialogues: Dialogues) -> Iterator[Encodable]:
    """Yield a text for each dialogue; a template brings its own special tokens, so a tokenizer must add none."""
    if not tokenizer.has_chat_template:
        yield from (("\n\n".join(turn["content"] for turn in dialogue), True) for dialogue in dialogues)
        return
    for dialogue, text in zip(dialogues, _by_template(tokenizer, dialogues), strict=True):
        # The smoke test judges templates.
        refused = isinstance(text, Exception)
        yield (json.dumps(dialogue, ensure_ascii=False), True) if refused else (str(text), False)


def _by_template(tokenizer: Any, dialogues: Dialogues) -> list[str | Exception]:
    """Render dialogues; where a template takes no system prompt, with that in front of the first user message."""
    texts = list(finished(rendering(tokenizer, dialogues)).values())
    refused = [number for number, text in enumerate(texts) if isinstance(text, Exception)]
    folded = {number: folded for number in refused if (folded := _folded(dialogues[number]))}
    if folded:
        again = finished(rendering(tokenizer, list(folded.values()))).values()
        for number, text in zip(folded, again, strict=True):
            texts[number] = text
    return texts


def _folded(dialogue: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Return a dialogue without its system prompt, which the first message of the user has; empty if it has none."""
    if [turn["role"] for turn in dialogue[:2]] != ["system", "user"]:
        return []
    system, user, *others = dialogue
    return [{"role": "user", "content": f"{system['content']}\n\n{user['content']}"}, *others]


def rendering(tokenizer: Any, dialogues: Dialogues) -> dict[str, Callable[[], str]]:
    """Return what renders the dialogues of the comparison, by name."""
    if not tokenizer.has_chat_template:
        return {}
    return {
        f"dialogue {number} of the comparison": partial(
            tokenizer.apply_chat_template, [dict(turn) for turn in dialogue], tokenize=False
        )
        for number, dialogue in enumerate(dialogues, 1)
    }
