"""Which parts of a text share a run of words, or of tokens, with another text: 13 in a row are no accident."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterable, Iterator, Sequence

RUN = 13
"""Words, or tokens, in a row. Shared ones count as the same text, as in the reports on GPT-3 and its successors."""
Grams = frozenset[tuple[Hashable, ...]]

# Signs that belong to the letter before them, as the vowels of Hindi do; Python counts them as no letters.
_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0903\u093a-\u094f\u0981-\u0dff\u200c\u200d"
# Thai, Lao, kana and Han have no blanks between words: each sign counts as one.
_SIGNS = "\u0e00-\u0eff\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(rf"[{_SIGNS}]|[^\W_{_MARKS}{_SIGNS}](?:[^\W_{_SIGNS}]|[{_MARKS}])*")


def words(text: str) -> list[str]:
    """Return the words of a text in lower case: runs of letters and digits."""
    return _WORD.findall(unicodedata.normalize("NFC", text).lower())


def grams(items: Sequence[Hashable]) -> Iterator[tuple[Hashable, ...]]:
    """Yield all runs of 13 items."""
    return zip(*(items[start:] for start in range(RUN)), strict=False)


def grams_of(texts: Iterable[Sequence[Hashable]]) -> Grams:
    """Return the runs of all texts, each given as its words or tokens."""
    return frozenset(gram for items in texts for gram in grams(items))


def sharing(parts: Sequence[Sequence[Hashable]], others: Grams) -> set[int]:
    """Return the numbers of the parts that a run of `others` touches; the parts follow each other in one text."""
    owners = [number for number, items in enumerate(parts) for _ in items]
    text = [item for items in parts for item in items]
    found: set[int] = set()
    for start, gram in enumerate(grams(text)):
        if gram in others:
            found.update(owners[start : start + RUN])
    return found
