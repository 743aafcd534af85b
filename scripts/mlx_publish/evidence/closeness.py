"""How close a variant is to what it was compared with: one scale of words, from the mean KL divergence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Closeness:
    """A step of the scale."""

    word: str
    """`near-identical`, `very close`, `close`, `lossy` or `heavily lossy`."""
    below: float
    """Mean KL divergence in nats from which on it does not apply any more."""
    meaning: str
    """What to expect in use, with `{what}` for what it was compared with."""
    warns: bool = False
    """Whether whoever decides is warned: from lossy on."""


SCALE: tuple[Closeness, ...] = (
    Closeness("near-identical", 0.01, "no difference to expect in use"),
    Closeness("very close", 0.05, "hard to tell apart from {what} in use"),
    Closeness("close", 0.15, "a different word now and then"),
    Closeness("lossy", 0.4, "expect mistakes in hard tasks that {what} does not make", warns=True),
    Closeness(
        "heavily lossy", float("inf"), "many answers differ from {what}; use a wider variant if you can", warns=True
    ),
)
NEAR_IDENTICAL, CLOSE = SCALE[0].below, SCALE[2].below


def closeness(mean_kld: float) -> Closeness:
    """Return the step of the scale of a mean KL divergence in nats; NaN is heavily lossy."""
    return next((step for step in SCALE if mean_kld < step.below), SCALE[-1])
