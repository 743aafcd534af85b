"""How much to read of a foreign document, by its kind: each limit is far above any real document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

DIGITS = 40
"""Of a whole number. transformers writes 10^30 for "no limit", which has 31."""


@dataclass(frozen=True)
class Bounds:
    """What one kind of JSON document may have."""

    most_bytes: int
    deepest: int = 64
    """Levels of lists and objects; real files have a handful."""
    twice: Literal["refused", "alike", "last"] = "alike"
    """A key that appears twice in one object: refused, or only where its values differ, or the last of them counts.

    Readers differ in which one they take: Python and Rust the last, others the first or none.
    """
    finite: bool = True
    """Refuse NaN and Infinity, which are no JSON. transformers writes them into configs all the same."""
    encodable: bool = True
    """Refuse half of a surrogate pair, which JSON can escape and UTF-8 cannot hold."""


CONFIG = Bounds(16 << 20, finite=False, encodable=False)
"""Configs of a model; per-layer settings of the largest reach some 5 MB."""
INDEX = Bounds(64 << 20)
"""model.safetensors.index.json, which names every tensor."""
VOCABULARY = Bounds(64 << 20, twice="last", finite=False, encodable=False)
"""tokenizer.json and the older files of tokens reach some 30 MB; all their readers take the last of two keys."""
HEADER = Bounds(25_000_000, deepest=8, twice="refused")
"""The header of a weight file; the Hub's client reads no larger one."""
EVIDENCE = Bounds(4 << 20, deepest=128, twice="refused", encodable=False)
REPORT = Bounds(64 << 20, deepest=128, encodable=False)
"""Reports and other facts in the work folder, which may quote what a config may hold."""
EVENT = Bounds(32 << 20)
"""GitHub delivers payloads of 25 MB at most."""
CHILD = Bounds(64 << 20, deepest=512, twice="last", finite=False, encodable=False)
"""A line of a child of ours, which may quote what a model holds or wrote."""
ANSWER = Bounds(64 << 20)
"""What a program or a service answers, as `gh` or PyPI."""

PLAN_BYTES = 32 << 20
"""A plan of bits has a line for each module and a character for each column of what flows in: 13 MB for 405B."""
YAML_BYTES = 1_000_000
YAML_DEEPEST = 32
YAML_NODES = 20_000
"""Scalars, lists and mappings of a recipe or a policy, which have a few hundred."""
CARD_NODES = 100_000
"""The same of a card's front matter, where some authors list the result of every benchmark."""


def bounds_of(path: str) -> Bounds:
    """Return the bounds of a model's JSON file, by its name."""
    name = path.rpartition("/")[2]
    if name in ("tokenizer.json", "vocab.json", "added_tokens.json"):
        return VOCABULARY
    return INDEX if name.endswith(".index.json") else CONFIG
