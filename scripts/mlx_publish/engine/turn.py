"""What a chat template puts behind an assistant's text: the token that ends a turn."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

_MARK = "Quillwort42"
_USER = {"role": "user", "content": "What grows here?"}
_ASSISTANT = {"role": "assistant", "content": _MARK}
_NEXT = {"role": "user", "content": "And there?"}
LIMIT = 10.0
"""Seconds that the rendering of all dialogues may take."""


def turn_end(tokenizer: Any) -> dict[str, Any]:
    """Return `chat` (is there a template), `turn_end` and `turn_error`.

    `turn_end` has the `text` of the first token of its own behind the assistant's text, its `ids`, and `special`; where
    there is no such token the text itself up to the end of the line. It is None where nothing follows.
    """
    if not tokenizer.has_chat_template:
        return {"chat": False, "turn_end": None, "turn_error": None}
    try:
        with _seconds(LIMIT):
            found = _find(tokenizer)
    except Exception as error:  # noqa: BLE001  a template can raise anything
        return {"chat": True, "turn_end": None, "turn_error": f"{type(error).__name__}: {error}"[:500]}
    return {"chat": True, "turn_end": found, "turn_error": None}


def _find(tokenizer: Any) -> dict[str, Any] | None:
    """Look behind the last turn first: there some templates put another token than between two turns."""
    tails = []
    for messages in ([_USER, _ASSISTANT], [_USER, _ASSISTANT, _NEXT]):
        rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=False, tokenize=False)
        if _MARK not in rendered:
            raise ValueError("the template does not show the assistant's text")
        tails.append(rendered.rpartition(_MARK)[2].partition(_NEXT["content"])[0])
    texts = sorted(map(str, tokenizer.added_tokens_decoder.values()), key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, filter(None, texts))) or r"(?!)")
    for tail in tails:
        if match := pattern.search(tail):
            return _told(tokenizer, match.group(), special=True)
    plain = next((tail for tail in tails if tail.strip()), tails[-1])
    return _told(tokenizer, plain, special=False) if plain else None


def _told(tokenizer: Any, text: str, *, special: bool) -> dict[str, Any]:
    ids = [int(id_) for id_ in tokenizer.encode(text, add_special_tokens=False)]
    return {"text": text[:200], "ids": ids[:50], "special": special}


@contextlib.contextmanager
def _seconds(limit: float) -> Iterator[None]:
    """Raise `TimeoutError` when it takes longer; the caller's own limit on the child stays behind it."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"the template did not end within {limit:.0f} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
