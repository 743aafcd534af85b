"""KL divergence and perplexity over positions, from two models' logits; names as in llama.cpp's `--kl-divergence`.

The models compute in their own precision; everything here is done in float64, a few positions at a time, because the
divergence of a good conversion is a small difference of large numbers.
"""

from __future__ import annotations

import math
import os
import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_publish.evidence.clustered import LEAST, Mean, clustered, t_95
from mlx_publish.evidence.measured import Divergence, KindDivergence, PassageDivergence

Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]
_ROWS = 16  # positions at a time: 20 MB of float64 for a vocabulary of 150,000
_MOST_PASSAGES = 1000  # whose means evidence holds


@dataclass
class Positions:
    """Values a position, gathered piece by piece, passage by passage."""

    kinds: list[str] = field(default_factory=list)
    """Of the passages."""
    passage: list[int] = field(default_factory=list)
    """The number of the passage that a position is of, from 0 on."""
    position: list[int] = field(default_factory=list)
    """Its place within the passage."""
    token: list[int] = field(default_factory=list)
    """The id of the token that comes next."""
    kld: list[float] = field(default_factory=list)
    """Divergence of the model's next-token distribution from the source's, in nats."""
    same: list[bool] = field(default_factory=list)
    """Whether both prefer the same token."""
    source: list[float] = field(default_factory=list)
    """The source's log-probability of the token that comes next, in nats."""
    model: list[float] = field(default_factory=list)
    """The model's."""

    def begin(self, kind: str) -> None:
        """Begin a passage: what is added from now on is of it."""
        self.kinds.append(kind)

    def add(
        self,
        source: NDArray[np.float32],
        model: NDArray[np.float32],
        following: Sequence[int],
        first: int | None = None,
    ) -> None:
        """Add positions: two arrays (positions, vocabulary) of logits, and the token that comes next at each.

        `first` is the place of the first one in its passage; by default it follows the one before.
        """
        number, count = len(self.kinds) - 1, len(following)
        before = len(self.passage) - bisect_left(self.passage, number) if first is None else first
        self.passage += [number] * count
        self.position += range(before, before + count)
        self.token += following
        for start in range(0, count, _ROWS):
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
            # Rounding may leave -1e-17 of what is never negative.
            self.kld += np.maximum(difference + np.log(total_model / total_source), 0).tolist()
            self.same += (np.argmax(source[rows], axis=-1) == np.argmax(model[rows], axis=-1)).tolist()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all values as arrays (positions,), by name; `kind` is a text a position."""
        kinds = np.asarray(self.kinds)
        return {
            "passage": np.asarray(self.passage, np.int32),
            "kind": kinds[self.passage],
            "position": np.asarray(self.position, np.int32),
            "token": np.asarray(self.token, np.int32),
            "kld": np.asarray(self.kld, np.float64),
            "same": np.asarray(self.same, np.bool_),
            "source": np.asarray(self.source, np.float64),
            "model": np.asarray(self.model, np.float64),
        }

    def save(self, path: Path) -> None:
        """Write the arrays to a file of numpy's, .npz, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        aside = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez_compressed(file, allow_pickle=False, **self.arrays())
            aside.chmod(0o644)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def divergence(self) -> Divergence:
        """Return the figures over all positions, and `by_kind`.

        Errors are those between passages, as `evidence.clustered` has them. Those of fewer than 5 passages take
        positions as independent, as llama.cpp's do, and say so. The ratio's is that of the mean difference of
        log-probabilities, which are paired.
        """
        of = self.arrays()
        passages = np.bincount(of["passage"], minlength=len(self.kinds))
        kinds = {kind: of["kind"] == kind for kind in self.kinds}
        with np.errstate(invalid="ignore", over="ignore"):  # what is no number is reported by a check
            by_kind = {
                kind: _short({name: values[rows] for name, values in of.items()}) for kind, rows in kinds.items()
            }
            return replace(_figures(of, passages), by_kind=by_kind)


def _figures(of: Arrays, counts: NDArray[np.int64]) -> Divergence:
    """Return the figures of positions that are of passages with so many each."""
    kld, same, source, model = (of[name].astype(np.float64) for name in ("kld", "same", "source", "model"))
    by_passage = len(counts) >= LEAST
    passage = of["passage"] if by_passage else None
    of_kld, of_same, of_ratio = (_mean(values, passage, counts) for values in (kld, same, source - model))
    ratio, delta = _exp(of_ratio.value), np.exp(model) - np.exp(source)
    median, p90, p99, p999 = (float(value) for value in np.percentile(kld, (50, 90, 99, 99.9)))
    return Divergence(
        positions=len(kld),
        mean_kld=of_kld.value,
        mean_kld_error=of_kld.error,
        median_kld=median,
        p90_kld=p90,
        p99_kld=p99,
        p999_kld=p999,
        max_kld=float(kld.max()),
        same_first_choice=of_same.value,
        same_first_choice_error=of_same.error,
        perplexity_source=_perplexity(source),
        perplexity=_perplexity(model),
        perplexity_ratio=ratio,
        perplexity_ratio_error=ratio * of_ratio.error,
        mean_delta_p=float(delta.mean()),
        rms_delta_p=float(np.sqrt(np.mean(delta * delta))),
        correlation=_correlation(source, model),
        passages=len(counts),
        errors_by="passage" if by_passage else "position",
        error_factor=of_kld.factor,
        by_passage=_by_passage(kld, of["passage"], counts),
    )


def mean_of(values: Floats, passage: NDArray[np.int32]) -> Mean:
    """Return the mean of values, each of the passage with that number, with its error."""
    counts = np.bincount(passage)
    return _mean(values, passage if len(counts) >= LEAST else None, counts)


def _mean(values: Floats, passage: NDArray[np.int32] | None, counts: NDArray[np.int64]) -> Mean:
    """Return the mean with its error between passages; without `passage`, with that of independent positions."""
    if passage is not None:
        return clustered(np.bincount(passage, values, len(counts)).tolist(), counts.tolist())
    many = len(values)
    error = float(values.std(ddof=1) / math.sqrt(many)) if many > 1 else 0.0
    return Mean(float(values.mean()), error, t_95(max(1, many - 1)))


def _by_passage(kld: Floats, passage: NDArray[np.int32], counts: NDArray[np.int64]) -> list[PassageDivergence] | None:
    """Return each passage's mean, by which two variants are compared; None of too many or too few passages."""
    if not LEAST <= len(counts) <= _MOST_PASSAGES:
        return None
    means = np.bincount(passage, kld, len(counts)) / counts
    return [PassageDivergence(int(count), float(mean)) for count, mean in zip(counts, means, strict=True)]


def _short(of: Arrays) -> KindDivergence:
    kld, ratio = of["kld"], _exp(float(np.mean(of["source"] - of["model"])))
    return KindDivergence(len(kld), float(kld.mean()), float(of["same"].mean()), ratio)


def _correlation(source: Floats, model: Floats) -> float | None:
    """Return Pearson's correlation of log-probabilities; None where one of them is the same everywhere."""
    source, model = source - source.mean(), model - model.mean()
    spread = math.sqrt(float(source @ source) * float(model @ model))
    return float(source @ model) / spread if spread > 0 else None


def gathered(
    passages: Iterable[tuple[str, Sequence[int]]],
    source: Iterator[NDArray[np.float32]],
    model: Iterator[NDArray[np.float32]],
) -> Positions:
    """Gather the values of all passages (kind, ids); the pieces of both models come in the same order.

    Positions at the beginning of a passage that an earlier one has with all that stands before them, as the system
    prompt that a chat template adds to every dialogue, count once. A passage that is all in an earlier one is none.
    """
    positions, earlier = Positions(), list[Sequence[int]]()
    for kind, ids in passages:
        known = max((_shared(ids, other) for other in earlier), default=0)
        if known < len(ids):
            positions.begin(kind)
        start = 0
        while start < len(ids) - 1:
            theirs, ours = next(source), next(model)
            first = max(known - 1 - start, 0)
            following = ids[start + 1 : start + 1 + len(theirs)]
            positions.add(theirs[first:], ours[first:], following[first:], start + first)
            start += len(theirs)
        earlier.append(ids)
    return positions


def _shared(ids: Sequence[int], other: Sequence[int]) -> int:
    """Return how many ids two passages have in common from their beginnings on."""
    pairs = enumerate(zip(ids, other, strict=False))
    return next((place for place, (one, two) in pairs if one != two), min(len(ids), len(other)))


def _below_the_best(logits: NDArray[np.float32]) -> Floats:
    """Return logits less the largest of their position, which no exponential overflows."""
    below: Floats = np.subtract(logits, logits.max(axis=-1, keepdims=True), dtype=np.float64)
    return below


def _perplexity(logprobs: Floats) -> float:
    return _exp(float(-logprobs.mean()))


def _exp(value: float) -> float:
    """Return infinity where a float has no room, and for what is no number: the check of the numbers reports both."""
    return math.exp(value) if value < 700 else math.inf
