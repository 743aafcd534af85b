"""How pixel values of two image processors differ, in words: grid, sizes, mean and deviation, order, filter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MEAN_LEVELS, _FAR_LEVELS, _FAR_SHARE = 0.5, 8.0, 0.002
"""Filters of two libraries round by a level of 255 and here and there by a few."""
_VALUES = "pixel_values"
_FEW = 64
"""Numbers that a grid or a size has at most."""
_STRAIGHT = 0.9995


@dataclass(frozen=True)
class Level:
    """What a level of 255 becomes, at most, and the size of a patch."""

    size: float
    patch: int

    @classmethod
    def of(cls, processor: Any) -> Level:
        """Return that of an image processor of transformers."""
        deviation = getattr(processor, "image_std", None)
        numbers = [float(value) for value in np.ravel(deviation)] if deviation is not None else [1.0]
        normalised = getattr(processor, "do_normalize", True)
        least = min((abs(value) for value in numbers if math.isfinite(value) and value), default=1.0)
        scaled = 1 / 255 if getattr(processor, "do_rescale", True) else 1.0
        patch = getattr(processor, "patch_size", 0)
        return cls(scaled / (least if normalised else 1.0), patch if isinstance(patch, int) else 0)


def difference(ours: Mapping[str, NDArray[Any]], wanted: Mapping[str, NDArray[Any]], level: Level) -> str:
    """Return how ours differ from those that are wanted; empty where they do not."""
    for key in wanted.keys() & ours.keys() - {_VALUES}:
        # What a grid or a size says; masks have the shape of their pixels, which are compared.
        if wanted[key].size <= _FEW and not np.array_equal(np.ravel(ours[key]), np.ravel(wanted[key])):
            return f"{key} is {np.ravel(ours[key]).tolist()[:9]} in place of {np.ravel(wanted[key]).tolist()[:9]}"
    if _VALUES not in ours:
        return "it has no pixel values"
    one, other = _alike(ours[_VALUES], wanted[_VALUES], level.patch)
    if one.shape != other.shape:
        return f"pixel values of shape {list(ours[_VALUES].shape)} in place of {list(wanted[_VALUES].shape)}"
    return _values(one.astype(np.float64), other.astype(np.float64), level.size)


def _alike(one: NDArray[Any], other: NDArray[Any], patch: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return both in one shape: axes of one, and patches of what is a picture on the other side."""
    if np.squeeze(one).shape == np.squeeze(other).shape:
        return np.squeeze(one), np.squeeze(other)
    picture = np.squeeze(one)
    if patch and picture.ndim == 3 and picture.shape[0] == 3 and other.shape[-1] == 3 * patch * patch:
        made, rows = _patches(picture, patch), other.reshape(-1, other.shape[-1])
        return made, rows[: len(made)]  # what follows is padding
    return one, other


def _patches(picture: NDArray[Any], patch: int) -> NDArray[Any]:
    """Return the patches of a picture (3, height, width) row by row, each (patch, patch, 3) as one axis."""
    channels, height, width = picture.shape
    split = picture.reshape(channels, height // patch, patch, width // patch, patch)
    rows: NDArray[Any] = split.transpose(1, 3, 2, 4, 0).reshape(-1, patch * patch * channels)
    return rows


def _values(one: NDArray[np.float64], other: NDArray[np.float64], level: float) -> str:
    if not np.isfinite(one).all():
        return "pixel values that are not numbers"
    apart = np.abs(one - other) / level
    if apart.mean() <= _MEAN_LEVELS and (apart > _FAR_LEVELS).mean() <= _FAR_SHARE:
        return ""
    return f"{_why(one, other)}; values are {apart.mean():.1f} of 255 levels off in the mean"


def _why(one: NDArray[np.float64], other: NDArray[np.float64]) -> str:
    """Return what explains the difference: a scale, an order, or neither."""
    if _straight(one, other):
        return "another mean, deviation or scale"
    if one.ndim > 1 and np.allclose(np.sort(one, None), np.sort(other, None), atol=np.ptp(other) * 0.01):
        return "the same values in another order"
    if math.isclose(one.mean(), other.mean(), abs_tol=0.05 * max(np.ptp(other), 1e-9)):
        return "resized by another filter, or to another size"
    return "other values"


def _straight(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Return whether each channel of one is a straight function of the other's."""
    axis = next((number for number, size in enumerate(other.shape) if size == 3), None)
    if axis is not None:
        ours, theirs = np.moveaxis(one, axis, 0), np.moveaxis(other, axis, 0)
        return all(_correlated(ours[number], theirs[number]) for number in range(3))
    if other.shape[-1] % 3:
        return _correlated(one, other)
    # Patches, whose channels are the outermost of a row.
    pairs = zip(np.split(one, 3, -1), np.split(other, 3, -1), strict=True)
    return all(_correlated(ours, theirs) for ours, theirs in pairs)


def _correlated(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    if not one.std() or not other.std():
        return True
    return bool(np.corrcoef(np.ravel(one), np.ravel(other))[0, 1] >= _STRAIGHT)
