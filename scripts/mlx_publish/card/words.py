"""Numbers of a comparison in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Upper limits of the mean KL divergence in nats, each with what people may expect from there down.
_CLOSE: tuple[tuple[float, str], ...] = (
    (0.01, "practically the same model"),
    (0.05, "very close; hard to tell apart in use"),
    (0.15, "close; now and then another word"),
    (0.4, "noticeably lossy; expect more mistakes in hard tasks"),
    (1.0, "heavily lossy; take a wider variant where you can"),
)


def how_close(fidelity: Mapping[str, Any]) -> str:
    """What the mean divergence means for who uses the model."""
    mean = fidelity["mean_kld"]
    return next((words for limit, words in _CLOSE if mean < limit), "hardly the same model any more")


def against(fidelity: Mapping[str, Any]) -> str:
    """What it was compared with, as the object of a sentence."""
    what = fidelity["against"]
    if what["what"] == "variant":
        return f"the variant {what['label']} ({what['bits_per_weight']:.2f} bits per weight), not the source"
    return "the unquantized source"
