"""Numbers of a comparison in plain words."""

from __future__ import annotations

from collections.abc import Mapping
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
