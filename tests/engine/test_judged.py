"""The largest magnitude of rows, by their bits, says whether all are zero and whether one is no number."""

from __future__ import annotations

import mlx.core as mx  # noqa: TID251 -- types of its arrays
import numpy as np
import pytest

from mlx_publish.engine.making import judged
from mlx_publish.engine.rows import bits_of

ROWS = {
    "mixed": [[1.5, -2.0, 0.0]],
    "negative alone": [[-3.0, -0.25]],
    "positive alone": [[0.5, 8.0]],
    "negative zero": [[-0.0, 0.0]],
    "larger below zero": [[1.0, -64.0]],
}


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32])
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_the_largest_magnitude_is_found_by_its_bits(rows: list[list[float]], dtype: mx.Dtype) -> None:
    piece = judged("w", bits_of(mx.array(rows).astype(dtype)), dtype)
    expected = bits_of(mx.array([np.abs(rows).max()]).astype(dtype)).view(np.uint32 if dtype.size == 4 else np.uint16)
    assert piece.largest == expected[0]
    assert piece.finite


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16, mx.float32])
@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan"), -float("nan")])
def test_what_is_no_number_is_found_whatever_its_sign(bad: float, dtype: mx.Dtype) -> None:
    assert not judged("w", bits_of(mx.array([[1.0, bad, -5.0]]).astype(dtype)), dtype).finite


def test_integers_and_rows_of_nothing_are_finite() -> None:
    assert judged("w", np.zeros((2, 3), np.uint32), mx.uint32).largest == 1
    assert judged("w", np.zeros((0, 3), np.uint16), mx.bfloat16).finite
