"""Which part of a model makes logits with pictures differ, by what its language model is given at each position."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TOWER = "the tower or the projector"
ORDER = "the order of the image tokens"
SCALE = "the scale of what the tower and the projector give"
PLACES = "the places of the image tokens"
LANGUAGE = "what the language model makes of image tokens"
BOTH_WAYS = "the attention between tokens of one picture, which see each other both ways"
LATER = "the positions of tokens behind the prompt"
_FIRST = 1e-6
_NEAR = 1e-4


def part_of(is_image: NDArray[np.bool_], ours: NDArray[Any], theirs: NDArray[Any], position: int, prompt: int) -> str:
    """Return the part that is to blame where logits differ from `position` on.

    `ours` and `theirs` are what the language models are given, (positions, width), ours of the `prompt` alone. Some
    classes scale it within the language model, others before it, so that a common factor is no difference.
    """
    if position >= prompt:
        return LATER
    is_image = is_image[:prompt]
    if ours.shape != theirs[:prompt].shape or not is_image.any():
        return ""
    theirs = theirs[:prompt]
    one = ours.astype(np.float64)
    return _by_rows(is_image, one, _factor(one[~is_image], theirs[~is_image].astype(np.float64)) * theirs)


def _by_rows(is_image: NDArray[np.bool_], one: NDArray[np.float64], other: NDArray[np.float64]) -> str:
    """Return the part by which rows differ; those of text have the same scale."""
    image, text = (_apart(one[rows], other[rows]).max() <= _FIRST for rows in (is_image, ~is_image))
    if image:
        return LANGUAGE if text else PLACES
    if not text:
        return PLACES if _permuted(one, other * (np.linalg.norm(one) / np.linalg.norm(other))) else TOWER
    if _permuted(one[is_image], other[is_image]):
        return ORDER
    own = other[is_image] * _factor(one[is_image], other[is_image])
    return SCALE if _apart(one[is_image], own).max() <= _FIRST else TOWER


def _factor(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return the factor that brings one nearest to the other."""
    return float((one * other).sum() / max(np.square(other).sum(), 1e-30))


def _apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squared error of each row against the mean square of all."""
    return np.asarray(np.square(one - other).sum(-1) / max(np.square(other).sum(-1).mean(), 1e-30))


def _permuted(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Return whether both have the same rows in another order."""
    squares = np.square(one).sum(-1)[:, None] + np.square(other).sum(-1)[None] - 2 * one @ other.T
    nearest = squares.argmin(1)
    near = squares[np.arange(len(one)), nearest] <= _NEAR * max(np.square(other).sum(-1).mean(), 1e-30)
    return bool(near.all() and (nearest != np.arange(len(one))).any())
