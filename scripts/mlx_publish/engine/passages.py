"""Texts as token ids: passages of the comparison, each the beginning of a document, and samples to calibrate on."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_publish.engine.encoding import Dialogues, Encodable, Encode, beginning, encoder, rendered
from mlx_publish.errors import BadInput
from mlx_publish.evidence.sensitivities import CalibrationOrder


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
_AT_ONCE = 64
"""Documents that are read together, until there are enough of them."""


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
    encode = encoder(folder, tokenizer)
    parts: list[Passage] = []
    for kind, share in SHARES.items():
        documents: Iterable[Encodable]
        if kind == "dialogue":
            documents = rendered(tokenizer, texts.dialogue)
        else:
            documents = ((text, True) for text in getattr(texts, kind))
        ids = (encode(text, special) for text, special in documents)
        parts += _cut(kind, ids, int(tokens * share), longest)
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


@dataclass(frozen=True)
class Drawn:
    """Samples of a calibration text, and others of other documents to judge by what was learned from the first."""

    samples: tuple[tuple[int, ...], ...]
    apart: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class _Window:
    """Ids of one sample, and the numbers of the documents that they are of."""

    kind: str
    documents: frozenset[int]
    ids: tuple[int, ...]


def samples(folder: Path, tokenizer: Any, order: CalibrationOrder) -> tuple[tuple[int, ...], ...]:
    """Return `order.samples` samples of `order.length` ids each, or fewer where the text has no more.

    Kinds of text come in their shares, in each beginning of the list as well. A sample is of one document; documents
    that are shorter than a sample are joined. Raises `BadInput` if the text has not one sample.
    """
    return drawn(folder, tokenizer, order).samples


def drawn(folder: Path, tokenizer: Any, order: CalibrationOrder, apart: int = 0) -> Drawn:
    """Return samples, and `apart` others that share no document with them: at most a quarter of all."""
    dice = random.Random(order.seed)  # noqa: S311  the same on all machines
    encode = encoder(folder, tokenizer)
    begin, enough = beginning(encode), order.samples + 2 * apart
    windows: dict[str, list[_Window]] = {}
    tokens = 0
    for kind in sorted(order.texts, key=lambda kind: [*SHARES, kind].index(kind)):
        documents: Any = order.texts[kind]
        read = _encoded(encode, tokenizer, documents, dice)
        found, count = _windows(kind, read, begin, order, enough)
        windows[kind], tokens = found, tokens + count
    count = sum(map(len, windows.values()))
    if not count:
        raise BadInput(
            f"the calibration text has {tokens:,} tokens, but a sample takes {order.length:,}",
            place=order.place,
            remedy="Use a longer text, or set a smaller length below calibration.",
        )
    # Windows of one document stand side by side here, so that few documents are lost to learning.
    judging = _in_shares(windows, min(apart, count // 4))
    taken = {(window.kind, number) for window in judging for number in window.documents}
    left = {
        kind: [window for window in found if not {(kind, number) for number in window.documents} & taken]
        for kind, found in windows.items()
    }
    for found in left.values():
        found.sort(key=lambda _: dice.random())
    learning = _in_shares(left, order.samples)
    return Drawn(tuple(window.ids for window in learning), tuple(window.ids for window in judging))


def _encoded(
    encode: Encode, tokenizer: Any, documents: Sequence[str | Sequence[Mapping[str, str]]], dice: random.Random
) -> Iterator[tuple[int, list[int]]]:
    """Yield number and ids of the documents, in an order that is drawn; a template renders some dialogues at once."""
    numbers = sorted(range(len(documents)), key=lambda _: dice.random())
    for start in range(0, len(numbers), _AT_ONCE):
        batch = numbers[start : start + _AT_ONCE]
        dialogues = {number: document for number in batch if not isinstance(document := documents[number], str)}
        read = dict(zip(dialogues, rendered(tokenizer, list(dialogues.values())), strict=True))
        for number in batch:
            text, special = read.get(number) or (str(documents[number]), True)
            yield number, encode(text, special)


def _windows(
    kind: str, documents: Iterable[tuple[int, list[int]]], begin: list[int], order: CalibrationOrder, enough: int
) -> tuple[list[_Window], int]:
    """Return samples of documents until there are `enough`, and how many tokens were read.

    What continues a document begins as all texts of the tokenizer do, with the ids `begin`.
    """
    found: list[_Window] = []
    joined: list[int] = []
    joined_of: set[int] = set()
    tokens = 0
    for number, ids in documents:
        tokens += len(ids)
        before = begin if ids[: len(begin)] == begin else []
        text, step = ids[len(before) :], order.length - len(before)
        whole = len(text) // step * step
        pieces = (text[start : start + step] for start in range(0, whole, step))
        found += [_Window(kind, frozenset({number}), (*before, *piece)) for piece in pieces]
        # Of a long document a short end is left out.
        if (rest := text[whole:]) and (not whole or len(rest) >= step // 2):
            joined += [*before, *rest]
            joined_of.add(number)
        if len(joined) >= order.length:
            found.append(_Window(kind, frozenset(joined_of), tuple(joined[: order.length])))
            joined, joined_of = [], set()
        if len(found) >= enough:
            break
    return found, tokens


def _in_shares(windows: Mapping[str, Sequence[_Window]], count: int) -> list[_Window]:
    """Return so many of all kinds that each beginning of the list has them in their shares, as far as there are any."""
    taken = dict.fromkeys(windows, 0)
    chosen: list[_Window] = []
    while len(chosen) < count:
        left = [kind for kind in windows if taken[kind] < len(windows[kind])]
        if not left:
            break
        kind = max(left, key=lambda kind: SHARES.get(kind, 1.0) * (len(chosen) + 1) - taken[kind])
        chosen.append(windows[kind][taken[kind]])
        taken[kind] += 1
    return chosen


def tokens_sha256(parts: Sequence[Passage]) -> str:
    """Return the SHA-256 of all ids, in decimal with commas, a passage a line."""
    return samples_sha256([part.ids for part in parts])


def samples_sha256(texts: Sequence[Sequence[int]]) -> str:
    """Return the same of samples."""
    return hashlib.sha256("\n".join(",".join(map(str, ids)) for ids in texts).encode()).hexdigest()
