"""Refuse a tokenizer that costs more than any real one, by its data, before a library loads it.

The tokenizers library builds whatever the file asks for: a token of megabytes, a normalizer that makes a book
of each letter.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping

from mlx_publish.errors import Refused
from mlx_publish.text.bounds import VOCABULARY

LONGEST = 16_384
"""Characters of a token or of any other text but a chat template; real ones reach some hundreds."""
MOST_GROWTH = 64
"""Times that a text may grow before it is cut into tokens: what is added for a space, accents taken apart, bytes."""
MOST_ADDED = 100_000
"""Tokens beside those of the vocabulary itself: a library adds them one by one. Codes of sounds reach some 65,000."""
MOST_PIECES = 1000
"""Parts of what is put around a text."""
MOST_PADDING = 1 << 20
_REMEDY = "Choose a source with an ordinary tokenizer."
# Long by right: templates have a limit of their own, and the other is a table of characters.
_LONG = frozenset({"chat_template", "precompiled_charsmap", "response_schema", "response_template"})
_LONGEST_TABLE = 8 << 20
_ADDED = ("added_tokens", "added_tokens_decoder", "additional_special_tokens", "extra_special_tokens")
_STEPS = ("normalizer", "pre_tokenizer", "decoder")


def judge_files(sizes: Mapping[str, int]) -> None:
    """Raise `Refused` if a file of the tokenizer is too large to be read at all."""
    for path, size in sizes.items():
        if size > VOCABULARY.most_bytes:
            raise Refused(f"is {size:,} bytes, too large for a tokenizer file", place=path, remedy=_REMEDY)


def judge_texts(data: object, place: str) -> None:
    """Raise `Refused` if a text of a tokenizer's file is too long to be a token, or where it adds too many."""
    for key in _ADDED:
        listed = data.get(key) if isinstance(data, Mapping) else None
        if isinstance(listed, (list, dict)) and len(listed) > MOST_ADDED:
            message = f"{key} adds {len(listed):,} tokens, and {MOST_ADDED:,} are the most that is read"
            raise Refused(message, place=place, remedy=_REMEDY)
    for key, text in _texts(data):
        limit = _LONGEST_TABLE if key in _LONG else LONGEST
        if len(text) > limit:
            message = f"{text[:40]!r}… has {len(text):,} characters, and {limit:,} are the most that is read"
            raise Refused(message, place=place, remedy=_REMEDY)


def judge_tokenizer(data: Mapping[str, object], place: str = "tokenizer.json") -> None:
    """Raise `Refused` if tokenizer.json holds a text that is too long, or steps that make a text too long."""
    judge_texts(data, place)
    for name in _STEPS:
        growth = 1.0
        for step in _steps(data.get(name)):
            growth *= _growth(step)
            if growth > MOST_GROWTH:
                message = f"its {name} makes a text more than {MOST_GROWTH} times as long"
                raise Refused(message, place=place, remedy=_REMEDY)
    dropout = model.get("dropout") if isinstance(model := data.get("model"), Mapping) else None
    if isinstance(dropout, (int, float)) and 0 < dropout < 1:
        message = f"its model splits text at random (dropout: {dropout:.3g}), which only training is for"
        raise Refused(message, place=place, remedy="Set model.dropout to null in the source.")
    if message := _around(data.get("post_processor")) or _padded(data.get("padding")):
        raise Refused(message, place=place, remedy=_REMEDY)


def _texts(data: object) -> Iterator[tuple[str, str]]:
    """Yield texts with the nearest key above them; keys are texts, too."""
    rooms: list[tuple[str, object]] = [("", data)]
    while rooms:
        key, room = rooms.pop()
        if isinstance(room, str):
            yield key, room
        elif isinstance(room, Mapping):
            yield from (("", name) for name in room)
            rooms += [(name, below) for name, below in room.items() if isinstance(below, (str, list, dict))]
        elif isinstance(room, list):
            rooms += [(key, below) for below in room if isinstance(below, (str, list, dict))]


def _steps(step: object) -> Iterator[Mapping[str, object]]:
    """Yield a step, or those of a sequence, whatever its key is called."""
    if not isinstance(step, Mapping):
        return
    inner = [value for key, value in step.items() if key in ("normalizers", "pretokenizers", "decoders", "processors")]
    if step.get("type") == "Sequence":
        for below in (below for listed in inner if isinstance(listed, list) for below in listed):
            yield from _steps(below)
    else:
        yield step


def _growth(step: Mapping[str, object]) -> float:
    """Return how many times as long a step makes a text at most."""
    kind = step.get("type")
    if kind == "Replace":
        content, pattern = step.get("content"), step.get("pattern")
        added = len(content) if isinstance(content, str) else 0
        text = pattern.get("String") if isinstance(pattern, Mapping) else None
        # A pattern may match between any two characters, and leaves them.
        return max(1.0, added / len(text)) if isinstance(text, str) and text else 1.0 + added
    if kind == "Precompiled":
        return 1.0 if _largest_entry(step.get("precompiled_charsmap")) <= LONGEST // 64 else float("inf")
    # A byte becomes a character of two bytes; a second time those become two each.
    return 2.0 if kind == "ByteLevel" else 1.0


def _largest_entry(table: object) -> int:
    """Return the longest text for a character: behind the trie, whose size comes first, each ends with a zero."""
    try:
        data = base64.b64decode(table) if isinstance(table, str) else b""
    except (binascii.Error, ValueError):
        return 0  # no library reads it either
    texts = data[4 + int.from_bytes(data[:4], "little") :]
    return max(map(len, texts.split(b"\0")), default=0)


def _around(step: object) -> str:
    """Say what is wrong with the pieces around a text, as its beginning and end; empty where nothing is."""
    for inner in _steps(step):
        for key in ("single", "pair"):
            pieces = inner.get(key)
            if isinstance(pieces, list) and len(pieces) > MOST_PIECES:
                return f"its post_processor makes {len(pieces):,} pieces of a text"
        special = inner.get("special_tokens")
        for token in special.values() if isinstance(special, Mapping) else ():
            ids = token.get("ids") if isinstance(token, Mapping) else None
            if isinstance(ids, list) and len(ids) > MOST_PIECES:
                return f"its post_processor puts {len(ids):,} tokens around a text"
    return ""


def _padded(padding: object) -> str:
    if not isinstance(padding, Mapping):
        return ""
    strategy = padding.get("strategy")
    fixed: Iterable[object] = strategy.values() if isinstance(strategy, Mapping) else ()
    for number in (*fixed, padding.get("pad_to_multiple_of")):
        if isinstance(number, (int, float)) and number > MOST_PADDING:
            return f"its padding makes {number:,} tokens of each text"
    return ""
