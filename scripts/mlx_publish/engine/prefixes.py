"""Names of tensors that differ from what a class reads in nothing but their beginning."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

_FIRST_LAYER = re.compile(r"^(.*?)(layers|h|blocks)\.0\.")
_WRAPPERS = ("language_model.", "text_model.", "model.")
_HEADS = re.compile(r"([^\d]*\.)?(lm_head|embed_out|output)\.weight")  # no number: it is of no layer


@dataclass(frozen=True)
class Prefix:
    """What stands in front of `layers.0.` in the source, and what the class reads there."""

    source: str
    read: str
    head: str
    """The name that the class reads the output head by; empty if it has none."""

    def __str__(self) -> str:
        theirs = f"names that begin with {self.source!r}" if self.source else "names without a prefix"
        return f"{theirs} where the MLX class reads {repr(self.read) if self.read else 'none'}"

    def renamed(self, name: str) -> str:
        """Return the name of a source tensor as the class reads it."""
        if self.head and _HEADS.fullmatch(name):
            return self.head
        if name.startswith(self.source):
            return self.read + name.removeprefix(self.source)
        outer = self.source  # the wrapper around all parts of the source, those of other senses too
        for part in _WRAPPERS:
            outer = outer.removesuffix(part) if outer != part else outer
        return name.removeprefix(outer) if outer != self.source else name


def prefix_of(source: Iterable[str], read: Iterable[str]) -> Prefix | None:
    """Return the one beginning by which the source's names differ from those of the class.

    None if there is none, where layers are not named alike, or where it would be a guess: two language models
    in one file, or names that would meet.
    """
    names, wanted = list(source), list(read)
    theirs, ours = _first_layers(names), _first_layers(wanted)
    if len(theirs) != 1 or len(ours) != 1 or theirs == ours:
        return None
    head = next((name for name in wanted if _HEADS.fullmatch(name)), "")
    prefix = Prefix(next(iter(theirs)), next(iter(ours)), head)
    return prefix if _is_unambiguous(prefix.renamed, names, wanted) else None


def _first_layers(names: Iterable[str]) -> set[str]:
    """Return what stands in front of the first layer of each language model that the names show."""
    prefixes = {match[1] for name in names if (match := _FIRST_LAYER.match(name))}
    return {prefix for prefix in prefixes if not re.search(r"vision|visual|audio|projector|encoder|mtp", prefix)}


def _is_unambiguous(renamed: Callable[[str], str], names: list[str], wanted: list[str]) -> bool:
    """Return whether no two names meet, and every norm that the class reads is there."""
    made = Counter(renamed(name) for name in names)
    if made and max(made.values()) > 1:
        return False
    norms = {name for name in wanted if name.endswith("norm.weight")}
    return bool(norms) and norms <= made.keys()
