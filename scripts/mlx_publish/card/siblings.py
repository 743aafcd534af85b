"""The variants of a recipe beside each other, and which one to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlx_publish.card.words import CLOSE, SAME

Rung = Mapping[str, Any]


def by_size(ladder: Sequence[Rung]) -> list[Rung]:
    """Smallest first."""
    return sorted(ladder, key=lambda rung: (rung["weight_bytes"], rung["label"]))


def here(evidence: Mapping[str, Any]) -> Rung | None:
    """The variant of this card in the ladder."""
    return next((rung for rung in evidence["ladder"] if rung["label"] == evidence["variant"]["label"]), None)


def choice(ladder: Sequence[Rung]) -> dict[str, Rung | None]:
    """`take`, the smallest that is close; `better`, the smallest that is the same; or else `closest`.

    What was compared with another variant counts only beside others that were: their zero is the same.
    """
    known = [rung for rung in by_size(ladder) if rung["mean_kld"] is not None]
    known = [rung for rung in known if rung["against"] == known[0]["against"]]
    take = next((rung for rung in known if rung["mean_kld"] < CLOSE), None)
    same = next((rung for rung in known if rung["mean_kld"] < SAME), None)
    closest = min(known, key=lambda rung: float(rung["mean_kld"]), default=None)
    return {"take": take, "better": same if same is not take else None, "closest": None if take else closest}


def shared(ladder: Sequence[Rung], key: str) -> Any:
    """What all variants that say anything have in common, as the machine of their speeds; None where they differ."""
    values = [rung[key] for rung in ladder if rung[key] is not None]
    return values[0] if values and all(value == values[0] for value in values) else None
