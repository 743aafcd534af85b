"""Numbers of a comparison in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from mlx_publish.evidence.evidence import Evidence, Rung
from mlx_publish.evidence.measurements import FidelitySpec, ProofSpec

T = TypeVar("T")

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


def how_close(fidelity: FidelitySpec) -> str:
    """Return what the mean divergence means for who uses the model."""
    words = next((words for limit, words in _WORDS if fidelity.mean_kld < limit), "hardly the same model any more")
    return words.format(what=short_against(fidelity))


def short_against(fidelity: FidelitySpec) -> str:
    """Return what it was compared with, in a word or two."""
    return fidelity.against.label if fidelity.against.what == "variant" else "the source"


def against(fidelity: FidelitySpec) -> str:
    """Return what it was compared with, as the object of a sentence."""
    if fidelity.against.what == "variant":
        return f"the variant {fidelity.against.label} ({fidelity.against.bits_per_weight:.2f} bits per weight)"
    return "the unquantized source"


def same_logits(proof: ProofSpec) -> str:
    """Return whether the twin gives the same logits: equal ones are at 1e-13 to 3e-8, as checks/twin.py says."""
    errors = [text.nmse for text in proof.texts if text.nmse is not None]
    if len(errors) < len(proof.texts):
        return "logits that could not be compared"
    error = f"normalised squared error {max(errors):.1e}"
    return f"the same logits ({error})" if max(errors) <= _SAME_LOGITS else f"other logits ({error})"


def by_size(ladder: Sequence[Rung]) -> list[Rung]:
    """Return the variants, smallest first."""
    return sorted(ladder, key=lambda rung: (rung.weight_bytes, rung.label))


def here(evidence: Evidence) -> Rung | None:
    """Return the variant of this card in the ladder."""
    return next((rung for rung in evidence.ladder if rung.label == evidence.variant.label), None)


def choice(ladder: Sequence[Rung]) -> dict[str, Rung | None]:
    """Return `take`, the smallest that is close; `better`, the smallest that is the same; or else `closest`.

    What was compared with another variant counts only beside others that were: their zero is the same.
    """
    known = [(rung.mean_kld, rung) for rung in by_size(ladder) if rung.mean_kld is not None]
    known = [(mean, rung) for mean, rung in known if rung.against == known[0][1].against]
    take = next((rung for mean, rung in known if mean < CLOSE), None)
    same = next((rung for mean, rung in known if mean < SAME), None)
    closest = min(known, key=lambda entry: entry[0])[1] if known else None
    return {"take": take, "better": same if same is not take else None, "closest": None if take else closest}


def shared(values: Iterable[T | None]) -> T | None:
    """Return what all that say anything have in common, as the machine of their speeds; None where they differ."""
    known = [value for value in values if value is not None]
    return known[0] if known and all(value == known[0] for value in known) else None
