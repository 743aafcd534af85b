"""Which part of a model makes logits with pictures differ, by what its language model is given at each position."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TOWER = "the tower or the projector"
ORDER = "the order of the image tokens"
PLACES = "the places of the image tokens"
LANGUAGE = "what the language model makes of image tokens"
BOTH_WAYS = "the attention between tokens of one picture, which see each other both ways"
LATER = "the positions of tokens behind the prompt"
_FIRST = 1e-6
_NEAR = 1e-4


def part_of(
    is_image: NDArray[np.bool_], ours: NDArray[Any], theirs: NDArray[Any], position: int, prompt: int
) -> str:
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
    image = _apart(ours[is_image], theirs[is_image])
    if max(image.max(), _apart(ours[~is_image], theirs[~is_image]).max()) <= _FIRST:
        return LANGUAGE
    if image.max() <= _FIRST:
        return PLACES
    if _permuted(ours[is_image], theirs[is_image]):
        return ORDER
    return PLACES if _permuted(ours, theirs) else TOWER


def _apart(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[np.float64]:
    """Return the squared error of each row against the mean square of all, but for a common factor."""
    one, other = ours.astype(np.float64), theirs.astype(np.float64)
    factor = float((one * other).sum() / max(np.square(other).sum(), 1e-30))
    scaled = other * factor
    return np.asarray(np.square(one - scaled).sum(-1) / max(np.square(scaled).sum(-1).mean(), 1e-30))


def _permuted(ours: NDArray[Any], theirs: NDArray[Any]) -> bool:
    """Return whether both have the same rows in another order."""
    one, other = ours.astype(np.float64), theirs.astype(np.float64)
    other = other * (np.linalg.norm(one) / max(np.linalg.norm(other), 1e-30))
    squares = np.square(one).sum(-1)[:, None] + np.square(other).sum(-1)[None] - 2 * one @ other.T
    nearest = squares.argmin(1)
    near = squares[np.arange(len(one)), nearest] <= _NEAR * max(np.square(other).sum(-1).mean(), 1e-30)
    return bool(near.all() and (nearest != np.arange(len(one))).any())
