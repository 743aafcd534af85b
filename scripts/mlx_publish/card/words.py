"""Numbers of a comparison in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SAME, CLOSE = 0.01, 0.15
"""Mean KL divergence in nats from which down a variant is practically the same model, or close to it."""
_SAME_LOGITS = 1e-5
# Upper limits of the mean KL divergence in nats, each with what people may expect from there down.
_WORDS: tuple[tuple[float, str], ...] = (
    (SAME, "practically the same model"),
    (0.05, "very close to {what}; hard to tell apart in use"),
    (CLOSE, "close to {what}; now and then another word"),
    (0.4, "noticeably lossy; expect mistakes in hard tasks that {what} does not make"),
    (1.0, "heavily lossy; take a wider variant where you can"),
)


def how_close(fidelity: Mapping[str, Any]) -> str:
    """What the mean divergence means for who uses the model."""
    mean = fidelity["mean_kld"]
    found = next((words for limit, words in _WORDS if mean < limit), "hardly the same model any more")
    return found.format(what=short_against(fidelity))


def short_against(fidelity: Mapping[str, Any]) -> str:
    """What it was compared with, in a word or two."""
    what = fidelity["against"]
    return str(what["label"]) if what["what"] == "variant" else "the source"


def against(fidelity: Mapping[str, Any]) -> str:
    """What it was compared with, as the object of a sentence."""
    what = fidelity["against"]
    if what["what"] == "variant":
        return f"the variant {what['label']} ({what['bits_per_weight']:.2f} bits per weight)"
    return "the unquantized source"


def same_logits(proof: Mapping[str, Any]) -> str:
    """Whether the twin gives the same logits: equal ones are at 1e-13 to 3e-8, as checks/twin.py says."""
    errors = [text["nmse"] for text in proof["texts"]]
    if None in errors:
        return "logits that could not be compared"
    said = f"normalised squared error {max(errors):.1e}"
    return f"the same logits ({said})" if max(errors) <= _SAME_LOGITS else f"other logits ({said})"


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
