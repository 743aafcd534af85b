"""Layers that an architecture's MLX class quantizes otherwise than the variant asks, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_INDEX = re.compile(r"(^|.*\.)(layers|h|blocks)\.\d+\.")
_NAMED = 6  # kinds of layers


@dataclass(frozen=True)
class KeptLayers:
    """What the class keeps: `wider` by path with its bits, `whole` unquantized."""

    wider: Mapping[str, int] = field(default_factory=dict)
    whole: tuple[str, ...] = ()

    @classmethod
    def of(cls, told: Mapping[str, Any] | None) -> KeptLayers:
        """As the engine tells them; none of an engine that tells nothing."""
        return cls(dict((told or {}).get("wider", {})), tuple((told or {}).get("whole", ())))

    def sentence(self) -> str:
        """Predicates of a sentence whose subject is the class; empty where all layers are alike."""
        said = [
            f"keeps {_kinds(path for path, own in self.wider.items() if own == bits)} at {bits} bits"
            for bits in sorted(set(self.wider.values()))
        ]
        said += [f"leaves {_kinds(self.whole)} unquantized"] if self.whole else []
        return " and ".join(said)


def _kinds(paths: Any) -> str:
    """Paths without the numbers of their layers, each once."""
    kinds = sorted({_INDEX.sub("", path) for path in paths})
    listed = [*kinds[:_NAMED], f"{len(kinds) - _NAMED} more"] if len(kinds) > _NAMED else kinds
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
