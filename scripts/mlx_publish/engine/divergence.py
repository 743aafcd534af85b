"""KL divergence and perplexity over positions, from two models' logits; names as in llama.cpp's `--kl-divergence`.

The models compute in their own precision; everything here is done in float64, a few positions at a time, because the
divergence of a good conversion is a small difference of large numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mlx_publish.evidence.measured import Divergence

Floats = NDArray[np.float64]
_ROWS = 16  # positions at a time: 20 MB of float64 for a vocabulary of 150,000


@dataclass
class Positions:
    """Values a position, gathered piece by piece."""

    kld: list[float] = field(default_factory=list)
    """Divergence of the model's next-token distribution from the source's, in nats."""
    same: list[bool] = field(default_factory=list)
    """Whether both prefer the same token."""
    source: list[float] = field(default_factory=list)
    """The source's log-probability of the token that comes next, in nats."""
    model: list[float] = field(default_factory=list)
    """The model's."""

    def add(self, source: NDArray[np.float32], model: NDArray[np.float32], following: Sequence[int]) -> None:
        """Add positions: two arrays (positions, vocabulary) of logits, and the token that comes next at each."""
        for start in range(0, len(following), _ROWS):
            rows = slice(start, start + _ROWS)
            of_source, of_model = _below_the_best(source[rows]), _below_the_best(model[rows])
            chosen = np.asarray(following[rows])[:, None]
            next_source, next_model = (np.take_along_axis(of, chosen, axis=-1)[:, 0] for of in (of_source, of_model))
            weights, total_model = np.exp(of_source), np.sum(np.exp(of_model), axis=-1)
            total_source = np.sum(weights, axis=-1)
            self.source += (next_source - np.log(total_source)).tolist()
            self.model += (next_model - np.log(total_model)).tolist()
            # The mean of log p - log q by p: the logarithms of both totals leave that of their ratio.
            difference = np.einsum("ij,ij->i", weights, np.subtract(of_source, of_model, out=of_model)) / total_source
            self.kld += (difference + np.log(total_model / total_source)).tolist()
            self.same += (np.argmax(source[rows], axis=-1) == np.argmax(model[rows], axis=-1)).tolist()

    def summary(self) -> Divergence:
        """Return mean, standard error, median, 99th percentile and maximum; first choices; perplexities.

        The standard errors take positions as independent, as llama.cpp's do. The ratio's error is that of the mean
        difference of log-probabilities, which are paired.
        """
        kld = np.maximum(np.asarray(self.kld), 0)  # rounding may leave -1e-17 of what is never negative
        same, source, model = (np.asarray(values, np.float64) for values in (self.same, self.source, self.model))
        ratio = _exp(float(np.mean(source - model)))
        return Divergence(
            positions=len(kld),
            mean_kld=float(kld.mean()),
            mean_kld_error=_error(kld),
            median_kld=float(np.median(kld)),
            p99_kld=float(np.percentile(kld, 99)),
            max_kld=float(kld.max()),
            same_first_choice=float(same.mean()),
            same_first_choice_error=_error(same),
            perplexity_source=_perplexity(source),
            perplexity=_perplexity(model),
            perplexity_ratio=ratio,
            perplexity_ratio_error=ratio * _error(source - model),
        )


def compared(
    passages: Iterable[tuple[str, Sequence[int]]],
    source: Iterator[NDArray[np.float32]],
    model: Iterator[NDArray[np.float32]],
) -> Divergence:
    """Summarise over all passages (kind, ids), with `by_kind` for each; the pieces of both come in the same order."""
    kinds: dict[str, Positions] = {}
    for kind, ids in passages:
        part, start = kinds.setdefault(kind, Positions()), 0
        while start < len(ids) - 1:
            theirs = next(source)
            part.add(theirs, next(model), ids[start + 1 : start + 1 + len(theirs)])
            start += len(theirs)
    by_kind = {kind: part.summary().short() for kind, part in kinds.items()}
    total = Positions()
    for part in kinds.values():
        total.kld += part.kld
        total.same += part.same
        total.source += part.source
        total.model += part.model
    return replace(total.summary(), by_kind=by_kind)


def _below_the_best(logits: NDArray[np.float32]) -> Floats:
    """Return logits less the largest of their position, which no exponential overflows."""
    below: Floats = np.subtract(logits, logits.max(axis=-1, keepdims=True), dtype=np.float64)
    return below


def _error(values: Floats) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def _perplexity(logprobs: Floats) -> float:
    return _exp(float(-logprobs.mean()))


def _exp(value: float) -> float:
    """Return infinity where a float has no room, and for what is no number: the check of the numbers reports both."""
    return math.exp(value) if value < 700 else math.inf
