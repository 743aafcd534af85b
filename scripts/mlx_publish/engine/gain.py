"""A variant beside plain rounding at equal bytes, position by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.divergence import mean_of
from mlx_publish.errors import Refused
from mlx_publish.evidence.quantization import Gain, RoundingPoint
from mlx_publish.evidence.rounding import NO_LOSS, GainOrder, Gains
from mlx_publish.text.progress import Tell

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Read:
    """What was measured at each position."""

    kld: Floats
    same: Floats
    passage: NDArray[np.int32]


def gains(orders: Sequence[dict[str, Any]], progress: Tell) -> Gains:
    """Compare variants, the fields of a `GainOrder` each, with plain rounding on the same text."""
    progress("comparing with plain rounding at equal bytes")
    asked = []
    for order in orders:
        neighbours, curve = ([RoundingPoint(**point) for point in order[key]] for key in ("neighbours", "curve"))
        asked.append(GainOrder(**{**order, "neighbours": neighbours, "curve": curve}))
    return Gains({order.label: gain_of(order) for order in asked})


def gain_of(order: GainOrder) -> Gain | None:
    """Return the gain of a variant; None where a number of it, or of its neighbours, is none."""
    variant, *others = (_read(path) for path in (order.values, *order.neighbour_values))
    if any(not np.array_equal(one.passage, variant.passage) for one in others):
        raise Refused(
            f"{order.label} and plain rounding were measured on other texts",
            check="earns-bytes",
            remedy="Repeat the fidelity stage with --force.",
        )
    if not all(np.isfinite(one.kld).all() for one in (variant, *others)):
        return None
    parts, klds = _parts(order), np.stack([one.kld for one in others])
    means = klds.mean(axis=-1)
    rounding = interpolated(means, parts)
    # Its first derivatives by the means: summed by position, the mean of this is `rounding`.
    by_position = (rounding * parts / np.maximum(means, NO_LOSS)) @ klds
    same = float(parts @ [one.same.mean() for one in others])
    mean, paired = float(variant.kld.mean()), mean_of(variant.kld - by_position, variant.passage)
    return Gain(
        mean_kld=mean,
        rounding_kld=rounding,
        difference=mean - rounding,
        difference_error=paired.error,
        error_factor=paired.factor,
        same_first_choice=float(variant.same.mean()),
        rounding_same_first_choice=same,
        curve=order.curve,
    )


def interpolated(means: Floats, parts: Floats) -> float:
    """Return the mean divergence of plain rounding between its neighbours by their `parts`.

    Its logarithm is a line over bytes.
    """
    return float(means[0] if len(means) == 1 else np.exp(parts @ np.log(np.maximum(means, NO_LOSS))))


def _parts(order: GainOrder) -> Floats:
    """Return how much each neighbour counts."""
    if len(order.neighbours) == 1:
        return np.ones(1)
    low, high = (point.weight_bytes for point in order.neighbours)
    share = (order.weight_bytes - low) / (high - low)
    return np.array([1 - share, share])


def _read(path: str) -> _Read:
    with np.load(path, allow_pickle=False) as file:
        kld, same = (file[name].astype(np.float64) for name in ("kld", "same"))
        return _Read(kld, same, file["passage"].astype(np.int32))
