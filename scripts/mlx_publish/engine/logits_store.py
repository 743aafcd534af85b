"""A model's logits on disk, piece by piece: a vocabulary of 150,000 never has to fit into memory for a whole text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.backends import backend
from mlx_publish.engine.passages import Passage
from mlx_publish.text.progress import Step, Tell, counted

CHUNK = 256
"""Positions of one piece."""
PICTURES = "pictures"
"""The folder within a store with texts that have a picture in front of them."""
LIMIT = 4 << 30
"""Bytes that a store may have; fewer positions are read where it would have more."""


def tokens_within(vocabulary: int, tokens: int) -> int:
    """Return how many positions a store holds: all of `tokens`, or fewer."""
    return min(tokens, LIMIT // (4 * max(vocabulary, 1)))


def logits_of(model: Any, parts: Iterable[Passage]) -> Iterator[mx.array]:
    """Yield the logits of each passage's positions, but for its last, in pieces (positions, vocabulary) of float32.

    The next piece is being computed while the caller is at work on one.
    """
    before = None
    for piece in _pieces(model, parts):
        mx.async_eval(piece)
        if before is not None:
            yield before
        before = piece
    if before is not None:
        yield before


def _pieces(model: Any, parts: Iterable[Passage]) -> Iterator[mx.array]:
    """Yield the same, of which nothing is computed."""
    for passage in parts:
        cache = backend().make_cache(model)
        for start in range(0, passage.positions, CHUNK):
            ids = passage.ids[start : min(start + CHUNK, passage.positions)]
            yield model(mx.array([ids]), cache=cache)[0].astype(mx.float32)


def write_store(
    store: Path,
    model: Any,
    parts: Sequence[Passage],
    tell: Tell = lambda _: None,
    beside: Callable[[Path], object] = lambda _: None,
) -> None:
    """Write the logits of all passages into the folder `store`, whole or not at all; what was there goes.

    `beside` writes what else belongs into it.
    """
    aside = store.with_name(f".{store.name}.new-store")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        step = Step("running the source", 0, sum(part.positions for part in parts), "tokens")
        for number, piece in enumerate(counted(logits_of(model, parts), len, tell, step)):
            mx.save_safetensors(str(aside / f"{number:05d}.safetensors"), {"logits": piece})
        index = [{"kind": part.kind, "index": part.index, "ids": part.ids} for part in parts]
        (aside / "passages.json").write_text(json.dumps(index))
        beside(aside)
        shutil.rmtree(store, ignore_errors=True)
        aside.replace(store)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def seen_by(store: Path) -> bool:
    """Return whether the source of a store read texts with pictures."""
    return (store / PICTURES).is_dir()


def read_passages(store: Path) -> tuple[Passage, ...]:
    """Return the passages of a store."""
    entries = json.loads((store / "passages.json").read_text())
    return tuple(Passage(entry["kind"], tuple(entry["ids"]), entry["index"]) for entry in entries)


def read_logits(store: Path) -> Iterator[NDArray[np.float32]]:
    """Yield a store's pieces in the order in which they were written."""
    for path in sorted(store.glob("*.safetensors")):
        piece: Any = mx.load(str(path))
        yield np.array(piece["logits"])


def as_arrays(pieces: Iterable[mx.array]) -> Iterator[NDArray[np.float32]]:
    """Yield a model's pieces as numpy arrays."""
    return (np.array(piece) for piece in pieces)
