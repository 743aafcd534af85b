"""The text of the comparison as token ids: several kinds of it, each read from its own beginning."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mlx_publish.engine.prompts import finished
from mlx_publish.engine.tokenizing import own_tokenizer

Dialogues = Sequence[Sequence[Mapping[str, str]]]


@dataclass(frozen=True)
class Texts:
    """The texts of the comparison, by kind."""

    prose: str
    code: str
    scripts: str
    dialogue: Dialogues


SHARES: Mapping[str, float] = {"prose": 0.4, "code": 0.2, "dialogue": 0.2, "scripts": 0.2}
"""How many of the tokens each kind gets; what one cannot fill stays empty."""
WINDOW = 1024
"""Tokens that are read in one go; longer kinds are read in several, each from its own beginning."""
_LEAST = 8  # tokens; a shorter window shows nothing


@dataclass(frozen=True)
class Passage:
    """Ids that a model reads in one go, and the kind of text that they are of."""

    kind: str
    ids: tuple[int, ...]

    @property
    def positions(self) -> int:
        """Return the number of positions whose next token is known."""
        return len(self.ids) - 1


def passages(folder: Path, tokenizer: Any, texts: Texts, tokens: int) -> tuple[Passage, ...]:
    """Cut the texts to `tokens` in all, by kind.

    Dialogues are rendered by the source's own chat template; a model without one reads them as plain text. Ids are
    those of the tokenizer.json in `folder` where there is one, for classes of transformers may read it differently.
    """
    parts, raw = [], own_tokenizer(folder)

    def encode(text: str, *, special: bool) -> list[int]:
        if raw is not None:
            return [int(id_) for id_ in raw.encode(text, add_special_tokens=special).ids]
        return [int(id_) for id_ in tokenizer.encode(text, add_special_tokens=special)]

    for kind, share in SHARES.items():
        if kind == "dialogue":
            ids = [id_ for text in _rendered(tokenizer, texts.dialogue) for id_ in encode(text, special=False)]
        else:
            ids = encode(getattr(texts, kind), special=True)
        ids = ids[: round(tokens * share)]
        windows = (ids[start : start + WINDOW] for start in range(0, len(ids), WINDOW))
        parts += [Passage(kind, tuple(window)) for window in windows if len(window) >= _LEAST]
    return tuple(parts)


def tokens_sha256(parts: Sequence[Passage]) -> str:
    """Return the SHA-256 of all ids, in decimal with commas, a passage a line."""
    return hashlib.sha256("\n".join(",".join(map(str, part.ids)) for part in parts).encode()).hexdigest()


def _rendered(tokenizer: Any, dialogues: Dialogues) -> Iterator[str]:
    """Yield a text for each dialogue; a template brings its own special tokens, so a tokenizer must add none."""
    if not tokenizer.has_chat_template:
        yield from ("\n\n".join(turn["content"] for turn in dialogue) + "\n\n" for dialogue in dialogues)
        return
    for dialogue, text in zip(dialogues, finished(rendering(tokenizer, dialogues)).values(), strict=True):
        # The smoke test judges templates.
        yield json.dumps(dialogue, ensure_ascii=False) if isinstance(text, Exception) else text


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
