"""Judgements about a comparison and a speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned

Result = Mapping[str, Any]

# Defaults that refuse a broken model and not a lossy one; FACTS: 4 bits of a 135M model lose 0.45 nats.
MAX_MEAN_KLD = 1.0
MIN_SAME_FIRST_CHOICE = 0.25
# The lowest trial may be a quarter below the highest one before the card calls the numbers unsteady.
STEADY = 0.75
BETTER = "Take more bits, a smaller group or a mixed recipe."


def _finite(result: Result) -> Says:
    broken = sorted(key for key, value in result.items() if value is None)
    if broken:
        return failed(f"not a number: {', '.join(broken)}", "The weights are broken; look at the source.")
    return passed(f"all numbers are finite over {result['positions']} positions")


def _kld(result: Result) -> Says:
    mean = result["mean_kld"]
    if mean is None:
        return skipped("there is no number")
    text = f"mean KLD {mean:.4f} ± {result['mean_kld_error'] or 0:.4f} nats"
    if mean <= MAX_MEAN_KLD:
        return passed(text)
    return failed(f"{text}, above the limit of {MAX_MEAN_KLD}", BETTER)


def _first_choice(result: Result) -> Says:
    share = result["same_first_choice"]
    if share is None:
        return skipped("there is no number")
    text = f"same first choice as the source at {share:.1%} of positions"
    return passed(text) if share >= MIN_SAME_FIRST_CHOICE else failed(f"{text}, too few", BETTER)


def _steady(result: Result) -> Says:
    low, high = result["generation_tps"]["lowest"], result["generation_tps"]["highest"]
    if low < STEADY * high:
        return warned(f"unsteady: {low:.1f} to {high:.1f} generation tokens/s", "Run it on a quiet machine.")
    return passed(f"{low:.1f} to {high:.1f} generation tokens/s in {len(result['trials'])} trials")


FIDELITY: tuple[Check[Result], ...] = (
    Check("finite", "The numbers are numbers", "broken weights", _finite, safety=True),
    Check("mean-kld", "It still is its source", "a broken model under a good name", _kld),
    Check("same-first-choice", "It prefers the same words", "a broken model under a good name", _first_choice),
)
BENCHMARK: tuple[Check[Result], ...] = (
    Check("steady", "The speed is steady", "numbers that nobody can repeat", _steady),
)
