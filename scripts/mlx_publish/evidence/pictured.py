"""How far a model that sees is from its source on text with pictures in front of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mlx_publish.evidence.records import LEFT_OUT


@dataclass(frozen=True)
class PicturesRead:
    """What was read of the source with pictures; its inputs and logits lie in the store of its logits."""

    passages: int
    reason: str = ""
    """Why there is none."""


@dataclass(frozen=True)
class ImagePositions:
    """The comparison at the positions of the pictures themselves, some of each; None is what is no number."""

    positions: int
    mean_kld: float | None
    same_first_choice: float | None


@dataclass(frozen=True)
class Effect:
    """What another picture under the same text changes in the distribution of the next token."""

    source: float | None
    """Mean Kullback-Leibler divergence between both pictures in the source, in nats."""
    model: float | None
    share: float | None
    """How much of the source's change of log-probabilities is in the model's, by regression: 1 is all, 0 nothing."""
    correlation: float | None
    """Between the changes of both; 0 where one of them does not change at all."""


@dataclass(frozen=True)
class PictureDivergence:
    """How far two models are apart at positions of text that stands behind a picture, as `Divergence`."""

    pictures: int
    """Passages, each of a picture and a text."""
    image_tokens: int
    """Of all passages."""
    positions: int
    mean_kld: float | None
    mean_kld_error: float | None
    median_kld: float | None
    p99_kld: float | None
    max_kld: float | None
    same_first_choice: float | None
    errors_by: Literal["passage", "position"] | None = field(default=None, metadata=LEFT_OUT)
    error_factor: float | None = field(default=None, metadata=LEFT_OUT)
    image_positions: ImagePositions | None = field(default=None, metadata=LEFT_OUT)
    """None where the config does not name the token of a picture, or has one for all of it."""
    effect: Effect | None = field(default=None, metadata=LEFT_OUT)
    """None where the two pictures of no pair give prompts of one length."""
    inputs_sha256: str = ""
    """Of the ids and the pixels that both read."""
