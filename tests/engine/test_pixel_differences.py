"""Pixel values: what rounds is no difference; mean, deviation, filter, grid, size and order are, in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mlx_publish.engine.pixel_differences import Level, difference

LEVEL, PLAIN = Level(1 / 255 / 0.5, 4), Level(1 / 255 / 0.5, 0)
RANDOM = np.random.default_rng(5)
DOWN, RIGHT = np.mgrid[0:32, 0:48] / 40
PICTURE = np.stack([DOWN, RIGHT, np.sin(9 * DOWN * RIGHT)]) + RANDOM.normal(0, 0.2, (3, 32, 48))
GRID = np.array([[1, 8, 12]])


def differs(change: Callable[[NDArray[Any]], NDArray[Any]], grid: NDArray[Any] = GRID) -> str:
    ours = {"pixel_values": change(PICTURE[None]), "image_grid_thw": grid}
    return difference(ours, {"pixel_values": PICTURE[None], "image_grid_thw": GRID}, PLAIN)


def test_the_same_values_agree_and_so_do_those_that_round_by_a_level() -> None:
    assert differs(lambda values: values) == ""
    assert differs(lambda values: values + LEVEL.size * RANDOM.choice([-0.5, 0, 0.5], values.shape)) == ""


def test_one_axis_more_or_less_is_no_difference() -> None:
    assert differs(lambda values: values[0]) == ""
    assert differs(lambda values: values[None]) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values - 0.04, "another mean, deviation or scale"),
        (lambda values: values * 1.2, "another mean, deviation or scale"),
        (lambda values: values * 255, "another mean, deviation or scale"),
        (lambda values: values[..., ::-1], "the same values in another order"),
        (lambda values: values[:, ::-1], "the same values in another order"),
        (lambda values: (values + np.roll(values, 1, -1)) / 2, "resized by another filter, or to another size"),
        (lambda values: values[..., :44], "pixel values of shape [1, 3, 32, 44] in place of [1, 3, 32, 48]"),
        (lambda values: values * np.nan, "pixel values that are not numbers"),
    ],
)
def test_what_is_made_otherwise_is_said(change: Callable[[NDArray[Any]], NDArray[Any]], words: str) -> None:
    assert words in differs(change)


def test_a_grid_whose_sides_change_places_is_said_with_both() -> None:
    assert differs(lambda values: values, GRID[:, [0, 2, 1]]) == "image_grid_thw is [1, 12, 8] in place of [1, 8, 12]"


def test_a_picture_agrees_with_its_own_patches_and_not_with_those_by_column() -> None:
    split = PICTURE.reshape(3, 8, 4, 12, 4)
    rows = split.transpose(1, 3, 2, 4, 0).reshape(1, 96, 48)
    columns = split.transpose(3, 1, 2, 4, 0).reshape(1, 96, 48)
    padded = np.concatenate([rows, np.zeros((1, 4, 48))], 1)
    assert difference({"pixel_values": PICTURE}, {"pixel_values": padded}, LEVEL) == ""
    assert "another order" in difference({"pixel_values": PICTURE}, {"pixel_values": columns}, LEVEL)


def test_what_has_no_pixel_values_is_said() -> None:
    assert difference({}, {"pixel_values": PICTURE}, LEVEL) == "it has no pixel values"


def test_a_level_is_a_step_of_255_by_the_smallest_deviation() -> None:
    class Processor:
        image_std = (0.5, 0.25, 0.5)
        do_normalize = True
        do_rescale = True
        patch_size = 14

    assert Level.of(Processor()) == Level(1 / 255 / 0.25, 14)
