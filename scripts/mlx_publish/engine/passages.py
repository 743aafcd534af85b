"""The text of the comparison as token ids: documents of several kinds, each read from its own beginning."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mlx_publish.engine.prompts import finished
from mlx_publish.engine.tokenizing import own_tokenizer

Dialogues = Sequence[Sequence[Mapping[str, str]]]
_Text = tuple[str, bool]
"""A text, and whether the tokenizer puts its special tokens around it."""


@dataclass(frozen=True)
class Texts:
    """The documents of the comparison, by kind."""

    prose: Sequence[str]
    code: Sequence[str]
    scripts: Sequence[str]
    dialogue: Dialogues


SHARES: Mapping[str, float] = {"prose": 0.4, "code": 0.2, "dialogue": 0.2, "scripts": 0.2}
"""How many of the tokens each kind gets; what one cannot fill stays empty."""
LONGEST = 256
"""Tokens of a passage."""
_PASSAGES = 16
"""Among so many the tokens are divided, or among more: errors are those of passages, not of positions."""
_SHORT = 32  # tokens; nothing is divided into shorter passages
_LEAST = 8  # tokens; a shorter passage shows nothing


@dataclass(frozen=True)
class Passage:
    """Ids that a model reads in one go: the beginning of a document. Positions of one passage are not independent."""

    kind: str
    ids: tuple[int, ...]
    index: int = 0
    """Number of the document among those of its kind, from 0: kind and index name it."""

    @property
    def positions(self) -> int:
        """Return the number of positions whose next token is known."""
        return len(self.ids) - 1


def passages(folder: Path, tokenizer: Any, texts: Texts, tokens: int) -> tuple[Passage, ...]:
    """Cut the texts to `tokens` in all: by kind, of as many documents as possible, each from its own beginning.

    Dialogues are rendered by the source's own chat template; a model without one reads them as plain text. Ids are
    those of the tokenizer.json in `folder` where there is one, for classes of transformers may read it differently.
    """
    longest = min(LONGEST, max(_SHORT, tokens // _PASSAGES))
    encode = _encoder(folder, tokenizer)
    parts: list[Passage] = []
    for kind, share in SHARES.items():
        documents: Iterable[_Text]
        if kind == "dialogue":
            documents = _rendered(tokenizer, texts.dialogue)
        else:
            documents = ((text, True) for text in getattr(texts, kind))
        ids = (encode(text, special) for text, special in documents)
        parts += _cut(kind, ids, round(tokens * share), longest)
    return tuple(parts)


def _cut(kind: str, documents: Iterable[Sequence[int]], tokens: int, longest: int) -> Iterator[Passage]:
    """Yield the beginnings of documents, as equal in length as the documents allow."""
    passages, left = -(-tokens // longest), tokens
    for index, ids in enumerate(documents):
        share = -(-left // max(1, passages - index))
        part = tuple(ids[: min(share, longest, left)])
        if len(part) >= _LEAST:
            yield Passage(kind, part, index)
            left -= len(part)
        if left < _LEAST:
            return


def tokens_sha256(parts: Sequence[Passage]) -> str:
    """Return the SHA-256 of all ids, in decimal with commas, a passage a line."""
    return hashlib.sha256("\n".join(",".join(map(str, part.ids)) for part in parts).encode()).hexdigest()


def _encoder(folder: Path, tokenizer: Any) -> Callable[[str, bool], list[int]]:
    """Return what makes ids of a text, with the tokenizer's special tokens around it or without."""
    raw = own_tokenizer(folder)

    def encode(text: str, special: bool) -> list[int]:
        if raw is not None:
            return [int(id_) for id_ in raw.encode(text, add_special_tokens=special).ids]
        return [int(id_) for id_ in tokenizer.encode(text, add_special_tokens=special)]

    return encode


def _rendered(tokenizer: Any, dialogues: Dialogues) -> Iterator[_Text]:
    """Yield a text for each dialogue; a template brings its own special tokens, so a tokenizer must add none."""
    if not tokenizer.has_chat_template:
        yield from (("\n\n".join(turn["content"] for turn in dialogue), True) for dialogue in dialogues)
        return
    for dialogue, text in zip(dialogues, finished(rendering(tokenizer, dialogues)).values(), strict=True):
        # The smoke test judges templates.
        refused = isinstance(text, Exception)
        yield (json.dumps(dialogue, ensure_ascii=False), True) if refused else (str(text), False)


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
