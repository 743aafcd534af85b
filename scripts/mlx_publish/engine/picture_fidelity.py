"""How much a converted model that sees still is its source: both read the same text behind the same pictures."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.backends import backend
from mlx_publish.engine.divergence import Positions
from mlx_publish.engine.logits_store import PICTURES
from mlx_publish.engine.picture_passages import (
    PicturePassage,
    inputs_sha256,
    picture_passages,
    read_pictures,
    said,
    write_pictures,
)
from mlx_publish.errors import Refused
from mlx_publish.evidence.pictured import Effect, ImagePositions, PictureDivergence, PicturesRead
from mlx_publish.text.progress import Step, Tell, counted

_ROWS = 16
_NOTHING = 1e-12
"""A variance of log-probabilities below which nothing changes."""
Floats = NDArray[np.float64]


def read_source_pictures(store: Path, model: Any, processor: Path, progress: Tell) -> PicturesRead:
    """Let a source read texts with pictures by the processor of a folder, and keep inputs and logits in `store`.

    What the processor or the source's own tower raises is the reason why there are none.
    """
    try:
        passages = picture_passages(processor)
        logits = list(logits_behind(model, passages, "running the source with pictures", progress))
        write_pictures(store / PICTURES, passages, logits)
    except Exception as error:  # noqa: BLE001  whatever a processor or a tower raises says that it does not work
        traceback.print_exc()
        return PicturesRead(0, said(error))
    return PicturesRead(len(passages))


def compare_pictures(store: Path, model: Any, label: str, progress: Tell) -> PictureDivergence | str | None:
    """Compare a converted model with what `store` holds of its source; None of nothing, a reason where it fails."""
    read = read_pictures(store / PICTURES)
    if not read:
        return None
    passages = [passage for passage, _ in read]
    try:
        ours = list(logits_behind(model, passages, f"running {label} with pictures", progress))
    except Exception as error:  # noqa: BLE001  the source read the same arrays
        traceback.print_exc()
        return said(error)
    pairs = [
        Pair(passage, np.array(theirs), np.array(made)) for (passage, theirs), made in zip(read, ours, strict=True)
    ]
    if any(pair.source.shape != pair.model.shape for pair in pairs):
        raise Refused("logits of another shape than the source's", check="same-shape")
    return divergence_of(pairs)


def logits_behind(model: Any, passages: Sequence[PicturePassage], what: str, progress: Tell) -> Iterator[mx.array]:
    """Yield the logits of each passage's positions that are kept, (positions, vocabulary), in float32."""

    def computed() -> Iterator[mx.array]:
        for passage in passages:
            cache = backend().make_cache(model)
            logits = model(mx.array([passage.ids]), cache=cache, **passage.inputs)[0]
            kept = logits[mx.array(passage.kept)].astype(mx.float32)
            mx.eval(kept)
            yield kept

    step = Step(what, 0, len(passages), "pictures")
    yield from counted(computed(), lambda _: 1, progress, step)


@dataclass(frozen=True)
class Pair:
    """A passage with both models' logits of the positions that are kept."""

    passage: PicturePassage
    source: NDArray[np.float32]
    model: NDArray[np.float32]

    @property
    def text(self) -> slice:
        """The rows of the text behind the picture."""
        return slice(len(self.passage.image_positions), None)


def divergence_of(pairs: Sequence[Pair]) -> PictureDivergence:
    """Return the comparison of all passages."""
    behind, within = Positions(), Positions()
    for pair in pairs:
        passage, ids = pair.passage, pair.passage.ids
        for positions, rows, places in (
            (behind, pair.text, list(passage.text_positions)),
            (within, slice(0, pair.text.start), passage.image_positions),
        ):
            if places:
                positions.begin("pictures")
                positions.add(pair.source[rows], pair.model[rows], [ids[place + 1] for place in places])
    figures = behind.divergence()
    image = within.divergence() if within.kinds else None
    return PictureDivergence(
        pictures=len(pairs),
        image_tokens=sum(pair.passage.image_tokens for pair in pairs),
        positions=figures.positions,
        mean_kld=figures.mean_kld,
        mean_kld_error=figures.mean_kld_error,
        median_kld=figures.median_kld,
        p99_kld=figures.p99_kld,
        max_kld=figures.max_kld,
        same_first_choice=figures.same_first_choice,
        errors_by=figures.errors_by,
        error_factor=figures.error_factor,
        image_positions=ImagePositions(image.positions, image.mean_kld, image.same_first_choice) if image else None,
        effect=effect_of(pairs),
        inputs_sha256=inputs_sha256([pair.passage for pair in pairs]),
    )


def effect_of(pairs: Sequence[Pair]) -> Effect | None:
    """Return what another picture under the same text changes in both models; None where no two passages compare.

    Changes of log-probabilities are weighed by the source's probabilities with the first picture, so that tokens which
    nobody would ever see count for nothing.
    """
    sums, positions = np.zeros(5), 0
    for one, other in combinations(pairs, 2):
        if one.passage.text == other.passage.text and one.passage.ids == other.passage.ids:
            sums += _changes(one, other)
            positions += len(one.passage.text_positions)
    if not positions:
        return None
    source, model, both, of_source, of_model = (float(value) for value in sums)
    moved = of_source > _NOTHING * positions
    spread = float(np.sqrt(of_source * of_model))
    return Effect(
        source=source / positions,
        model=model / positions,
        share=both / of_source if moved else None,
        correlation=(both / spread if spread > _NOTHING * positions else 0.0) if moved else None,
    )


def _changes(one: Pair, other: Pair) -> Floats:
    """Return sums over positions: both divergences, the covariance of both changes, and the variance of each."""
    sums = np.zeros(5)
    for start in range(one.text.start, len(one.source), _ROWS):
        rows = slice(start, start + _ROWS)
        source, source_other, model, model_other = (
            _log_probabilities(logits[rows]) for logits in (one.source, other.source, one.model, other.model)
        )
        weights = np.exp(source)
        by_source, by_model = source - source_other, model - model_other
        sums[0] += float((weights * by_source).sum())
        sums[1] += float((np.exp(model) * by_model).sum())
        of_source, of_model = (
            change - (weights * change).sum(axis=-1, keepdims=True) for change in (by_source, by_model)
        )
        sums[2:] += [
            float((weights * left * right).sum())
            for left, right in ((of_source, of_model), (of_source, of_source), (of_model, of_model))
        ]
    return sums


def _log_probabilities(logits: NDArray[np.float32]) -> Floats:
    below: Floats = np.subtract(logits, logits.max(axis=-1, keepdims=True), dtype=np.float64)
    scores: Floats = below - np.log(np.exp(below).sum(axis=-1, keepdims=True))
    return scores
