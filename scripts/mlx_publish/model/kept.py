"""Layers that are quantized otherwise than the variant asks, in words."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mlx_publish.evidence.conversion import KeptLayers

_INDEX = re.compile(r"(^|.*\.)(layers|h|blocks)\.\d+\.")
_NAMED = 6  # kinds of layers


def sentence(layers: KeptLayers) -> str:
    """Return predicates of a sentence whose subject is the class; empty where all layers are alike."""
    predicates = [
        f"keeps {_kinds(path for path, own in layers.wider.items() if own == bits)} at {bits} bits"
        for bits in sorted(set(layers.wider.values()))
    ]
    predicates += [f"leaves {_kinds(layers.whole)} unquantized"] if layers.whole else []
    predicates += [f"rounds {_kinds(layers.nearest)} by its own scales"] if layers.nearest else []
    return " and ".join(predicates)


def rounded_wider(layers: KeptLayers) -> str:
    """Return the layers that a method cannot do, and rounds with more bits; empty where there are none."""
    bits = next(iter(layers.fallback.values()), 0)
    return f"{_kinds(layers.fallback)} at {bits} bits" if bits else ""


def _kinds(paths: Iterable[str]) -> str:
    """List paths without the numbers of their layers, each once."""
    kinds = sorted({_INDEX.sub("", path) for path in paths})
    listed = [*kinds[:_NAMED], f"{len(kinds) - _NAMED} more"] if len(kinds) > _NAMED else kinds
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
