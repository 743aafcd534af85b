"""The normalised error beside the same sums written out in Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from mlx_publish.torch_check.comparing import Comparison

Logits = NDArray[np.float32]


def pair(seed: int, positions: int = 7, vocabulary: int = 13, noise: float = 0.1) -> tuple[Logits, Logits]:
    rng = np.random.default_rng(seed)
    reference = rng.standard_normal((positions, vocabulary), dtype=np.float32) + np.float32(3)
    return reference + np.float32(noise) * rng.standard_normal(reference.shape, dtype=np.float32), reference


def compared(*pairs: tuple[Logits, Logits]) -> Comparison:
    comparison = Comparison()
    for found, reference in pairs:
        comparison.add(found, reference)
    return comparison


def errors(found: Logits, reference: Logits) -> list[tuple[float, float]]:
    """For each position the squared differences and the squared distances from its mean."""
    sums = []
    for one, other in zip(found.tolist(), reference.tolist(), strict=True):
        mean = math.fsum(other) / len(other)
        difference = math.fsum((a - b) ** 2 for a, b in zip(one, other, strict=True))
        sums.append((difference, math.fsum((b - mean) ** 2 for b in other)))
    return sums


def test_the_sums_go_over_all_sequences() -> None:
    pairs = [pair(0, noise=1), pair(1, positions=3)]
    result = compared(*pairs).result()
    sums = [one for found, reference in pairs for one in errors(found, reference)]
    assert result.nmse == pytest.approx(math.fsum(a for a, _ in sums) / math.fsum(b for _, b in sums), rel=1e-12)
    assert result.worst_position == pytest.approx(max(a / b for a, b in sums), rel=1e-12)
    same = [
        one.tolist().index(max(one)) == other.tolist().index(max(other))
        for p in pairs
        for one, other in zip(*p, strict=True)
    ]
    assert 0 < sum(same) < 10
    assert result.same_first_choice == sum(same) / 10
    assert result.positions == 10
    assert result.problem == ""


def test_equal_logits_have_no_error() -> None:
    _, reference = pair(0)
    result = compared((reference, reference)).result()
    assert (result.nmse, result.worst_position, result.same_first_choice) == (0, 0, 1)


def test_logits_that_know_nothing_have_an_error_of_one() -> None:
    _, reference = pair(0, positions=4)
    mean = np.broadcast_to(reference.mean(axis=-1, keepdims=True), reference.shape)
    assert compared((mean.astype(np.float32), reference)).result().nmse == pytest.approx(1, rel=1e-6)


def test_the_scale_of_the_logits_does_not_count() -> None:
    found, reference = pair(0)
    once, twice = compared((found, reference)).result(), compared((4 * found, 4 * reference)).result()
    assert once.nmse is not None
    assert once.nmse == pytest.approx(twice.nmse, rel=1e-12)


def test_small_differences_are_summed_in_double_precision() -> None:
    _, reference = pair(0, positions=1, vocabulary=100_000)
    found = reference.copy()
    found[0, 0] += np.float32(1e-3)
    (difference, spread), *_ = errors(found, reference)
    assert compared((found, reference)).result().nmse == pytest.approx(difference / spread, rel=1e-9)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_gives_none(side: int, value: float) -> None:
    broken, whole = pair(0), pair(1)
    broken[side][2, 3] = value
    result = compared(broken, whole).result()
    assert result.problem == "logits that are not numbers"
    assert (result.nmse, result.worst_position, result.same_first_choice) == (None, None, None)


def test_another_vocabulary_gives_none() -> None:
    found, reference = pair(0)
    result = compared((found[:, :-1], reference)).result()
    assert result.nmse is None
    assert result.problem == "logits of 12 tokens in MLX and of 13 in the reference"


def test_constant_logits_do_not_divide_by_zero() -> None:
    flat = np.zeros((2, 5), np.float32)
    assert compared((flat, flat)).result().nmse == 0
    result = compared((flat + np.float32(1), flat)).result()
    assert result.nmse is not None
    assert math.isfinite(result.nmse)
    assert result.nmse > 1


def test_without_a_position_there_is_no_number() -> None:
    assert Comparison().result().nmse is None
