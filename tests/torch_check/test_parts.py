"""Which part makes logits with pictures differ, and the names of tensors that another version saves otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from mlx_publish.torch_check.naming import renamed
from mlx_publish.torch_check.parts import LANGUAGE, LATER, ORDER, PLACES, SCALE, TOWER, part_of

RANDOM = np.random.default_rng(3)
GIVEN = RANDOM.normal(size=(20, 16))
IS_IMAGE = np.array([5 <= place < 11 for place in range(20)])
IMAGE = slice(5, 11)


def part(ours: np.ndarray, position: int = 5) -> str:
    return part_of(IS_IMAGE, ours[:16], GIVEN, position, 16)


def test_the_same_rows_leave_the_language_model() -> None:
    assert part(GIVEN) == LANGUAGE


def test_a_common_factor_is_no_difference() -> None:
    assert part(GIVEN * 11.3) == LANGUAGE


def test_a_factor_of_the_image_alone_is_its_scale() -> None:
    ours = GIVEN.copy()
    ours[IMAGE] *= 0.25
    assert part(ours) == SCALE


@pytest.mark.parametrize("order", [[10, 9, 8, 7, 6, 5], [5, 7, 6, 8, 10, 9]])
def test_image_rows_in_another_order_are_told_as_that(order: list[int]) -> None:
    ours = GIVEN.copy()
    ours[IMAGE] = GIVEN[order]
    assert part(ours) == ORDER


def test_rows_that_stand_elsewhere_are_places() -> None:
    ours = GIVEN.copy()
    ours[[4, 5, 6, 7, 8, 9, 10]] = GIVEN[[5, 6, 7, 8, 9, 10, 4]]
    assert part(ours, 4) == PLACES


def test_other_image_rows_are_the_tower_or_the_projector() -> None:
    ours = GIVEN.copy()
    ours[7] += 0.1
    assert part(ours) == TOWER


def test_what_begins_behind_the_prompt_is_told_as_that() -> None:
    assert part(GIVEN, 17) == LATER


NAMES = [
    "vision_tower.vision_model.encoder.layers.0.fc1.weight",
    "vision_tower.vision_model.encoder.layers.1.fc1.weight",
]


def test_a_part_that_another_version_leaves_out_comes_back() -> None:
    own = [name.replace(".vision_model", "") for name in NAMES]
    assert renamed([*own, "lm_head.weight"], [*NAMES, "lm_head.weight"]) == dict(zip(own, NAMES, strict=True))


def test_a_name_that_could_be_several_stays() -> None:
    assert renamed(["tower.fc1.weight"], ["tower.a.fc1.weight", "tower.b.fc1.weight"]) == {}


def test_names_that_are_those_of_the_source_stay() -> None:
    assert renamed(NAMES, [*NAMES, "other.fc1.weight"]) == {}
