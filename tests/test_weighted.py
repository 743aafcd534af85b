"""Scales by how much flows through each column: never worse than MLX's, in MLX's format, the same bytes everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import mlx.core as mx  # noqa: TID251 -- what reads the result
import numpy as np
import pytest

from mlx_publish.engine import weighted, weighted_search
from mlx_publish.engine.rounding import Precision
from mlx_publish.engine.weighted import quantize_rows, weights_of

Array = np.ndarray[Any, Any]
F = np.float32
BITS, SIZES = (2, 3, 4, 5, 6, 8), (32, 64, 128)
DTYPES = (mx.bfloat16, mx.float16, mx.float32)
INTEGERS = {mx.bfloat16: mx.uint16, mx.float16: mx.uint16, mx.float32: mx.uint32}
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).rpartition(".")[2])
each_bits = pytest.mark.parametrize("bits", BITS)


def bits_of(values: Array, dtype: mx.Dtype) -> Array:
    return np.array(mx.array(values).astype(dtype).view(INTEGERS[dtype]))


def floats(bits: Array, dtype: mx.Dtype) -> Array:
    return np.array(mx.array(bits).view(dtype).astype(mx.float32))


def matrix(rows: int, columns: int, seed: int = 0) -> tuple[Array, Array]:
    """Weights as a layer has them, and the importance of its columns: a few have far more than the rest."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((rows, columns)) * 0.03 * (1 + random.random((rows, 1)))
    values[random.random(values.shape) < 0.003] *= 12
    characters = "".join(weighted.STEPS[min(35, int(step))] for step in random.exponential(3, columns))
    return values.astype(F), weights_of(characters)


def as_mlx_reads(made: list[Array], dtype: mx.Dtype, size: int, bits: int) -> Array:
    """What MLX makes of the arrays, in float32."""
    packed, scales, biases = made
    wide = [mx.array(part).view(dtype).astype(mx.float32) for part in (scales, biases)]
    return np.array(mx.dequantize(mx.array(packed), wide[0], wide[1], group_size=size, bits=bits), np.float64)


def errors(values: Array, read: Array, weights: Array, size: int) -> Array:
    squares: Array = (np.square(read - values.astype(np.float64)) * weights).reshape(-1, size)
    return np.asarray(squares.sum(-1))


def by_mlx(bits_: Array, dtype: mx.Dtype, size: int, bits: int) -> list[Array]:
    packed, *rest = mx.quantize(mx.array(bits_).view(dtype), size, bits, stream=mx.cpu)
    return [np.array(packed), *(np.array(part.view(INTEGERS[dtype])) for part in rest)]


@each_dtype
@each_bits
@pytest.mark.parametrize("size", SIZES)
def test_no_group_is_worse_than_mlx_makes_it_and_most_are_far_better(dtype: mx.Dtype, bits: int, size: int) -> None:
    values, weights = matrix(48, 384)
    stored = bits_of(values, dtype)
    values = floats(stored, dtype)
    ours = as_mlx_reads(quantize_rows(stored, dtype, Precision(size, bits, "affine"), weights), dtype, size, bits)
    mine = errors(values, ours, weights, size)
    theirs = errors(values, as_mlx_reads(by_mlx(stored, dtype, size, bits), dtype, size, bits), weights, size)
    assert (mine <= theirs * (1 + 1e-4)).all()
    assert mine.sum() < 0.55 * theirs.sum()


@each_dtype
def test_the_arrays_are_those_of_mlx_in_shape(dtype: mx.Dtype) -> None:
    values, weights = matrix(6, 384)
    stored = bits_of(values, dtype)
    for bits in BITS:
        ours = quantize_rows(stored, dtype, Precision(64, bits, "affine"), weights)
        assert [(part.shape, part.dtype) for part in ours] == [
            (part.shape, part.dtype) for part in by_mlx(stored, dtype, 64, bits)
        ]


def halves(numbers: Array) -> Any:
    """The sum of a group: every fourth together by halves, then the four."""
    lanes = numbers.reshape(-1, 4)
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    one, two, three, four = lanes[0]
    return (one + two) + (three + four)


class OneGroup:
    """The search for one group, as one would write it down."""

    def __init__(self, values: Array, weights: Array, dtype: mx.Dtype, bits: int) -> None:
        self.values, self.weights, self.dtype, self.bits = values, weights, dtype, bits
        self.top, self.total = F(2**bits - 1), halves(weights)
        self.mean = halves(values * weights) / self.total

    def stored(self, number: Any) -> Any:
        return floats(bits_of(np.array([number], F), self.dtype), self.dtype)[0]

    def codes(self, scale: Any, bias: Any) -> Array:
        quotients = np.rint((self.values - bias) * (F(1) / scale))
        return np.asarray(np.minimum(np.maximum(quotients, F(0)), self.top))

    def error(self, scale: Any, bias: Any) -> Any:
        error = self.codes(scale, bias) * scale + bias - self.values
        return halves(error * error * self.weights)

    def line(self, codes: Array) -> tuple[Any, Any, Any]:
        weighted_codes = codes * self.weights
        mean = halves(weighted_codes) / self.total
        variance = halves(weighted_codes * codes) - halves(weighted_codes) * mean
        shared = halves(codes * ((self.values - self.mean) * self.weights))
        slope = shared / variance
        return slope, mean, shared * slope if variance > 0 else F(0)

    def fitted(self, codes: Array) -> tuple[Any, Any]:
        slope, mean, _ = self.line(codes)
        scale = self.stored(slope)
        return scale, self.stored(self.mean - scale * mean)

    def candidates(self, best: list[Any]) -> Iterator[tuple[Any, Any]]:
        low, high = self.values.min(), self.values.max()
        cuts = [F(cut / 100) for cut in weighted_search._CUTS[self.bits]]
        most, line = F(-1), ((high - low) / self.top, low)
        for below in cuts:
            for above in cuts:
                codes = self.codes((high - low) * ((F(1) - below - above) / self.top), low + (high - low) * below)
                slope, mean, explained = self.line(codes)
                if explained > most:
                    most, line = explained, (slope, self.mean - slope * mean)
        last = self.stored(line[0]), self.stored(line[1])
        yield last
        for _ in range(weighted_search._ROUNDS):
            last = self.fitted(self.codes(*last))
            yield last
        for percent in weighted_search._NEARBY[self.bits]:
            for change in (-percent, percent):
                scale = self.stored(best[1] * F(1 + change / 100))
                yield self.fitted(self.codes(scale, best[2] + (best[1] - scale) * (self.top * F(0.5))))

    def search(self, scale: Any, bias: Any) -> tuple[Any, Any, Array] | None:
        best = [self.error(scale, bias), scale, bias]
        start = best[0]
        for candidate in self.candidates(best):
            error = self.error(*candidate)
            if error < best[0]:
                best[:] = [error, *candidate]
        return (best[1], best[2], self.codes(best[1], best[2])) if best[0] < start else None


def packed_bytes(codes: Array, bits: int) -> bytes:
    number = sum(int(code) << bits * place for place, code in enumerate(codes))
    return number.to_bytes(len(codes) * bits // 8, "little")


@each_dtype
@each_bits
def test_the_bytes_are_those_of_a_plain_search_group_by_group(dtype: mx.Dtype, bits: int) -> None:
    size = 64 if bits < 8 else 32
    values, weights = matrix(5, 128, seed=bits)
    values[2] = 0
    values[3, :size] = 0.25
    stored = bits_of(values, dtype)
    values = floats(stored, dtype)
    expected = by_mlx(stored, dtype, size, bits)
    scales, biases = (floats(part, dtype) for part in expected[1:])
    codes = expected[0].view(np.uint8).reshape(len(values), -1, size * bits // 8)
    with np.errstate(all="ignore"):
        for row, column in np.ndindex(*scales.shape):
            place = slice(column * size, column * size + size)
            group = OneGroup(values[row, place], weights[place], dtype, bits)
            if found := group.search(scales[row, column], biases[row, column]):
                scales[row, column], biases[row, column] = found[:2]
                codes[row, column] = np.frombuffer(packed_bytes(found[2], bits), np.uint8)
    ours = quantize_rows(stored, dtype, Precision(size, bits, "affine"), weights)
    np.testing.assert_array_equal(ours[0].view(np.uint8).reshape(codes.shape), codes)
    np.testing.assert_array_equal(floats(ours[1], dtype), scales)
    np.testing.assert_array_equal(floats(ours[2], dtype), biases)


@each_bits
def test_bytes_do_not_depend_on_pieces_blocks_or_threads(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values, weights = matrix(61, 448)
    stored, precision = bits_of(values, mx.bfloat16), Precision(64, bits, "affine")

    def digest(parts: list[list[Array]]) -> list[str]:
        whole = (np.concatenate([part[place] for part in parts]) for place in range(3))
        return [hashlib.sha256(array.tobytes()).hexdigest() for array in whole]

    whole = digest([quantize_rows(stored, mx.bfloat16, precision, weights)])
    for block in (1 << 11, 1 << 13, 1 << 18):
        monkeypatch.setattr(weighted, "BLOCK", block)
        assert digest([quantize_rows(stored, mx.bfloat16, precision, weights)]) == whole
    with ThreadPoolExecutor(3) as pool:
        cuts = [0, 2, 20, 33, 61]
        pieces = [stored[first:last] for first, last in pairwise(cuts)]
        made = pool.map(lambda piece: quantize_rows(piece, mx.bfloat16, precision, weights), pieces)
        assert digest(list(made)) == whole


@each_dtype
@each_bits
def test_zeros_and_constants_are_kept_exactly(dtype: mx.Dtype, bits: int) -> None:
    _, weights = matrix(1, 256)
    rows = np.array([[0.0] * 256, [-0.0] * 256, [0.75] * 256, [-3.0] * 256], F)
    made = quantize_rows(bits_of(rows, dtype), dtype, Precision(32, bits, "affine"), weights)
    np.testing.assert_array_equal(as_mlx_reads(made, dtype, 32, bits), rows)


@each_dtype
@each_bits
def test_numbers_at_the_ends_of_a_type_give_what_is_finite(dtype: mx.Dtype, bits: int) -> None:
    random, (_, weights) = np.random.default_rng(5), matrix(1, 256)
    largest = {mx.float16: 6e4, mx.bfloat16: 1e38, mx.float32: 1e38}[dtype]
    scales = np.array([[largest], [largest * 1e-3], [1e-20], [1e-38], [3e-45], [1e-7]])
    rows = np.clip(random.standard_normal((6, 256)) * scales / 4, -largest, largest).astype(F)
    stored = bits_of(rows, dtype)
    made = quantize_rows(stored, dtype, Precision(64, bits, "affine"), weights)
    read, theirs = (as_mlx_reads(arrays, dtype, 64, bits) for arrays in (made, by_mlx(stored, dtype, 64, bits)))
    assert np.isfinite(read).all()
    rows = floats(stored, dtype)
    mine, other = (errors(rows, each, weights / weights.max(), 64) for each in (read, theirs))
    assert (mine <= other * (1 + 1e-4) + 1e-40).all()


def test_numbers_on_a_grid_that_mlx_keeps_exactly_stay_exact() -> None:
    random, (_, weights) = np.random.default_rng(7), matrix(1, 256)
    codes = random.integers(0, 16, (32, 256))
    codes[:, ::64], codes[:, 1::64] = 0, 15
    rows = ((codes - 8) * 2.0**-7).astype(F)
    made = quantize_rows(bits_of(rows, mx.bfloat16), mx.bfloat16, Precision(64, 4, "affine"), weights)
    np.testing.assert_array_equal(as_mlx_reads(made, mx.bfloat16, 64, 4), rows)


def test_equal_importance_gives_the_least_squared_error() -> None:
    values, _ = matrix(16, 256)
    stored = bits_of(values, mx.float32)
    ones = np.ones(256, F)
    made = quantize_rows(stored, mx.float32, Precision(64, 3, "affine"), ones)
    twice = quantize_rows(stored, mx.float32, Precision(64, 3, "affine"), ones * F(1024))
    assert all((one == other).all() for one, other in zip(made, twice, strict=True))
    theirs = errors(values, as_mlx_reads(by_mlx(stored, mx.float32, 64, 3), mx.float32, 64, 3), ones, 64)
    assert errors(values, as_mlx_reads(made, mx.float32, 64, 3), ones, 64).sum() < 0.8 * theirs.sum()


def test_a_column_weighs_two_to_the_power_of_its_step() -> None:
    assert weights_of("019az").tolist() == [1, 2, 2**9, 2**10, 2**35]
