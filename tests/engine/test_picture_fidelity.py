"""The comparison behind pictures: its store, its figures, and what another picture changes in both models."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx  # noqa: TID251 -- arrays of the engine
import numpy as np
import pytest
from numpy.typing import NDArray

from mlx_publish.engine.picture_fidelity import Pair, divergence_of, effect_of
from mlx_publish.engine.picture_passages import (
    SAMPLED,
    PicturePassage,
    inputs_sha256,
    read_pictures,
    write_pictures,
)

VOCABULARY = 50
DICE = np.random.default_rng(7)
Logits = NDArray[np.float32]


def passage(text: str = "shapes", medium: str = "shapes", image: tuple[int, int] | None = (2, 6)) -> PicturePassage:
    """Two tokens, a picture of four and a text of six."""
    ids = (1, 2, 9, 9, 9, 9, 11, 12, 13, 14, 15, 16)
    return PicturePassage(text, medium, ids, image, {"pixel_values": mx.ones((1, 3))}, {"spatial": [2, 2]})


def random_logits(of: PicturePassage) -> Logits:
    return DICE.normal(size=(len(of.kept), VOCABULARY)).astype(np.float32)


def test_text_begins_with_what_the_last_token_of_the_picture_says_comes_next() -> None:
    one = passage()
    assert list(one.text_positions) == [5, 6, 7, 8, 9, 10]
    assert one.image_positions == [2, 3, 4]
    assert one.image_tokens == 4
    assert [one.ids[place + 1] for place in one.text_positions] == [11, 12, 13, 14, 15, 16]


def test_of_a_large_picture_some_positions_are_kept() -> None:
    large = PicturePassage("", "", (1, *[9] * 1000, 2, 3), (1, 1001))
    assert len(large.image_positions) <= SAMPLED
    assert large.image_positions[0] == 1
    assert large.image_positions[-1] > 900


def test_where_no_token_tells_of_a_picture_all_positions_are_text() -> None:
    one = passage(image=None)
    assert list(one.text_positions) == list(range(11))
    assert (one.image_positions, one.image_tokens) == ([], 0)


def test_a_picture_of_one_token_has_no_positions_of_its_own() -> None:
    one = PicturePassage("", "", (1, 9, 2, 3), (1, 2))
    assert (one.image_positions, list(one.text_positions)) == ([], [1, 2])


def test_what_a_store_keeps_is_what_source_and_result_read(tmp_path: Path) -> None:
    first = passage()
    arrays = {"pixel_values": mx.array([[0.5, -1.25]]), "grid#0": mx.array([1, 2]), "grid#1": mx.array([3, 4])}
    second = PicturePassage("words", "gray", (1, 9, 2, 3), None, arrays, {"sizes": [[4, 5]]})
    logits = [mx.array(random_logits(one)) for one in (first, second)]
    write_pictures(tmp_path / "pictures", [first, second], logits)
    (one, one_logits), (other, other_logits) = read_pictures(tmp_path / "pictures")
    assert (one.text, one.medium, one.ids, one.image) == (first.text, first.medium, first.ids, first.image)
    assert (other.image, other.inputs["sizes"]) == (None, [[4, 5]])
    assert [grid.tolist() for grid in other.inputs["grid"]] == [[1, 2], [3, 4]]
    assert other.inputs["pixel_values"].tolist() == [[0.5, -1.25]]
    assert mx.array_equal(one_logits, logits[0])
    assert mx.array_equal(other_logits, logits[1])
    assert inputs_sha256([one, other]) == inputs_sha256([first, second])


def test_a_store_without_pictures_has_none(tmp_path: Path) -> None:
    assert read_pictures(tmp_path / "pictures") == []


def test_other_pixels_are_other_inputs() -> None:
    one, other = passage(), passage()
    other = PicturePassage(other.text, other.medium, other.ids, other.image, {"pixel_values": mx.zeros((1, 3))})
    assert inputs_sha256([one]) != inputs_sha256([other])


def test_text_and_picture_are_counted_apart() -> None:
    one = passage()
    source = random_logits(one)
    model = source.copy()
    model[:3] += DICE.normal(size=(3, VOCABULARY)).astype(np.float32)  # of the picture
    figures = divergence_of([Pair(one, source, model)])
    assert figures.mean_kld == 0
    assert figures.same_first_choice == 1
    assert (figures.pictures, figures.positions, figures.image_tokens) == (1, 6, 4)
    assert figures.image_positions is not None
    assert figures.image_positions.positions == 3
    assert figures.image_positions.mean_kld is not None
    assert figures.image_positions.mean_kld > 0.1


def pairs(change: float, of_source: float = 1.0, noise: float = 0.0) -> list[Pair]:
    """Return two pictures under one text; the model has so much of the source's change, and noise beside it."""
    one, other = passage(), passage(medium="gray")
    base = random_logits(one)
    moved = of_source * random_logits(one)
    seen = [Pair(one, base, base.copy()), Pair(other, base + moved, base + change * moved)]
    for pair in seen:
        pair.model[:] += noise * random_logits(one)
    return seen


def test_a_model_that_changes_as_its_source_has_all_of_its_effect() -> None:
    effect = effect_of(pairs(1.0))
    assert effect is not None
    assert effect.source == pytest.approx(effect.model)
    assert effect.source is not None
    assert effect.source > 0.1
    assert [effect.share, effect.correlation] == pytest.approx([1.0, 1.0])


def test_a_model_that_ignores_its_picture_has_nothing_of_it() -> None:
    effect = effect_of(pairs(0.0))
    assert effect is not None
    assert [effect.model, effect.share, effect.correlation] == pytest.approx([0.0, 0.0, 0.0])


def test_half_of_a_change_is_half_of_the_effect_with_all_of_the_correlation() -> None:
    effect = effect_of(pairs(0.5))
    assert effect is not None
    assert [effect.share, effect.correlation] == pytest.approx([0.5, 1.0])


def test_noise_leaves_the_share_and_lowers_the_correlation() -> None:
    many = [pair for _ in range(40) for pair in pairs(1.0, noise=0.5)]
    texts = [
        Pair(PicturePassage(f"{n // 2}", "", p.passage.ids, (2, 6)), p.source, p.model) for n, p in enumerate(many)
    ]
    effect = effect_of(texts)
    assert effect is not None
    assert effect.share == pytest.approx(1.0, abs=0.15)
    assert effect.correlation is not None
    assert 0.6 < effect.correlation < 0.95


def test_a_source_that_does_not_look_has_no_effect_to_compare_with() -> None:
    effect = effect_of(pairs(1.0, of_source=0.0))
    assert effect is not None
    assert (effect.share, effect.correlation) == (None, None)


def test_pictures_under_other_texts_or_in_longer_prompts_are_not_compared() -> None:
    one, other = pairs(1.0)
    under_another = Pair(PicturePassage("words", "gray", other.passage.ids, (2, 6)), other.source, other.model)
    longer = Pair(PicturePassage("shapes", "gray", (0, *other.passage.ids[1:]), (2, 6)), other.source, other.model)
    assert effect_of([one, under_another]) is None
    assert effect_of([one, longer]) is None
    assert effect_of([one]) is None
