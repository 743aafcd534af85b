"""The CPU quantizer gives what `mx.quantize` gives on the CPU, to the last bit, whatever the weights are."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- what is compared with
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_publish.engine import rounding
from mlx_publish.engine.rounding import Precision, quantize, quantize_rows_each
from mlx_publish.engine.rounding_formats import FORMATS
from mlx_publish.engine.rounding_tiny import are_tiny

AFFINE = [("affine", size, bits) for size in (32, 64, 128) for bits in (2, 3, 4, 5, 6, 8)]
MODES = [*AFFINE, ("mxfp4", 32, 4), ("mxfp8", 32, 8), ("nvfp4", 16, 4)]
DTYPES = [mx.bfloat16, mx.float16, mx.float32]
INTEGERS = {1: mx.uint8, 2: mx.uint16, 4: mx.uint32}
each_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: "-".join(map(str, mode)))
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype).rpartition(".")[2])


def bytes_of(array: mx.array) -> np.ndarray[Any, Any]:
    return np.array(mx.view(array, INTEGERS[array.itemsize], stream=mx.cpu))


def assert_same(weight: mx.array, mode: tuple[str, int, int]) -> None:
    name, size, bits = mode
    theirs = mx.quantize(weight, group_size=size, bits=bits, mode=name, stream=mx.cpu)
    ours = quantize(weight, size, bits, name)
    assert [(array.shape, array.dtype) for array in ours] == [(array.shape, array.dtype) for array in theirs]
    groups = bytes_of(weight).reshape(-1, size)
    tiny = are_tiny(groups, FORMATS[weight.dtype], name)  # MLX has no scale for them, and any bytes
    for array, expected in zip(ours, theirs, strict=True):
        one, other = (bytes_of(part).reshape(len(groups), -1) for part in (array, expected))
        np.testing.assert_array_equal(one[~tiny], other[~tiny])
    if tiny.any():
        codes, scales = (bytes_of(part).reshape(len(groups), -1)[tiny] for part in ours)
        assert not scales.any()
        values = np.array(mx.view(mx.array(groups[tiny]), weight.dtype).astype(mx.float32)).astype(np.float64)
        assert_nearest(values * 2.0**127, codes.view(np.uint8), name)


def assert_nearest(values: np.ndarray[Any, Any], codes: np.ndarray[Any, Any], mode: str) -> None:
    """Each code stands for the number of its format that is nearest to its value."""
    if mode == "mxfp4":
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(len(codes), -1)
        numbers = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    else:
        numbers = np.append(np.arange(8) / 512, np.outer(2.0 ** np.arange(-6, 9), np.arange(8, 16) / 8))[:127]
    sign = len(numbers) + (mode == "mxfp8")
    found = numbers[codes & (sign - 1)] * np.where(codes & sign, -1, 1)
    nearest = np.abs(np.abs(values)[..., None] - numbers).min(axis=-1)
    np.testing.assert_array_equal(np.abs(found - values), nearest)


def as_weight(values: Any, dtype: mx.Dtype) -> mx.array:
    return mx.array(np.asarray(values, np.float32)).astype(dtype)


def patterns(dtype: mx.Dtype, seed: int) -> Iterator[mx.array]:
    """Every bit pattern of a half precision, or a million drawn ones of float32: sorted, shuffled, and finite only."""
    random = np.random.default_rng(seed)
    if dtype == mx.float32:
        bits = np.sort(random.integers(0, 1 << 32, 1 << 17, dtype=np.uint32))
    else:
        bits = np.arange(1 << 16, dtype=np.uint16)
    finite = bits[np.isfinite(np.array(mx.view(mx.array(bits), dtype).astype(mx.float32)))]
    for chosen in (bits, finite[: len(finite) // 128 * 128]):
        yield mx.view(mx.array(chosen.reshape(-1, 128)), dtype)
        yield mx.view(mx.array(random.permutation(chosen).reshape(-1, 128)), dtype)


@each_dtype
@each_mode
def test_normal_weights_of_every_magnitude_are_rounded_as_mlx_rounds_them(
    mode: tuple[str, int, int], dtype: mx.Dtype
) -> None:
    random = np.random.default_rng(1)
    for width in (0.02, 1.0):
        assert_same(as_weight(random.standard_normal((64, 1152)) * width, dtype), mode)
    magnitudes = 2.0 ** random.integers(-45, 40, (96, 1))
    assert_same(as_weight(random.standard_normal((96, 384)) * magnitudes, dtype), mode)


@each_dtype
@each_mode
def test_every_bit_pattern_is_rounded_as_mlx_rounds_it(mode: tuple[str, int, int], dtype: mx.Dtype) -> None:
    for weight in patterns(dtype, 2):
        assert_same(weight, mode)


def crafted(dtype: mx.Dtype) -> Iterator[list[float]]:
    """Groups of 128 values that lie on the edges of the arithmetic."""
    step = 2.0**-8
    yield [0.0] * 128
    yield [-0.0] * 128
    yield [0.0, -0.0] * 64
    yield [-0.0, -1.0] * 64
    yield [0.7] * 128
    yield [-0.7] * 128
    yield [step * (place % 16 + 0.5) for place in range(128)]
    yield [step * (place % 64 - 32) / 4 for place in range(128)]
    yield [step * place / 4 * (-1) ** place for place in range(128)]
    yield [6 * step, *(step * place / 8 for place in range(1, 128))]
    yield [-448 * step, *(step * place / 16 for place in range(1, 128))]
    yield [1e4 if place == 77 else 1e-3 * place for place in range(128)]
    yield [-1e4 if place % 16 == 3 else 0.0 for place in range(128)]
    yield [5e-8 * (-1) ** place * (place / 128) for place in range(128)]
    yield [1.0 + step * (place % 3) for place in range(128)]
    yield [3e4, -3e4, 6e4, 1e-4] * 32
    if dtype != mx.float16:
        yield [3.3e38, -3.3e38, 1.0, 1e30] * 32
        yield [1e-38, -1e-39, 1e-40, 3e-41] * 32
        yield [2700.0, *(2.0**place for place in range(127))]


@each_dtype
@each_mode
def test_zeros_ties_constants_outliers_and_tiny_values_are_rounded_as_mlx_rounds_them(
    mode: tuple[str, int, int], dtype: mx.Dtype
) -> None:
    assert_same(as_weight(list(crafted(dtype)), dtype), mode)


@each_dtype
@each_mode
def test_a_value_between_two_steps_goes_where_mlx_sends_it(mode: tuple[str, int, int], dtype: mx.Dtype) -> None:
    multiples = np.arange(-512, 512).reshape(-1, 128)
    for exponent in (-20, -9, 0, 5):
        for step in (0.25, 0.5, 0.75, 1.0):
            assert_same(as_weight(multiples * step * 2.0**exponent, dtype), mode)


@each_dtype
@each_mode
def test_a_group_with_nan_or_infinity_does_not_touch_its_neighbours(
    mode: tuple[str, int, int], dtype: mx.Dtype
) -> None:
    values = np.random.default_rng(3).standard_normal((3, 384))
    values[0, 5], values[1, 200], values[2, 383] = np.nan, np.inf, -np.inf
    assert_same(as_weight(values, dtype), mode)


@each_dtype
@each_mode
def test_the_weights_of_usual_models_are_never_left_to_mlx(
    mode: tuple[str, int, int], dtype: mx.Dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(10).standard_normal((64, 384)) * 2.0 ** np.arange(-14, 2).repeat(4)[:, None]
    values[7], values[8, 1::2] = 0, 0
    weight = as_weight(values, dtype)
    monkeypatch.setattr(mx, "quantize", lambda *_, **__: pytest.fail("left to MLX"))
    name, size, bits = mode
    quantize(weight, size, bits, name)


@each_mode
@pytest.mark.parametrize("shape", [(1, 128), (3, 5, 384), (2, 3, 4, 128), (7, 128)], ids=str)
def test_any_shape_is_accepted(mode: tuple[str, int, int], shape: tuple[int, ...]) -> None:
    assert_same(as_weight(np.random.default_rng(4).standard_normal(shape), mx.bfloat16), mode)


@each_mode
def test_rows_columns_and_steps_of_another_array_are_quantized(mode: tuple[str, int, int]) -> None:
    whole = as_weight(np.random.default_rng(5).standard_normal((256, 384)), mx.bfloat16)
    for weight in (whole.T, whole[3:40], whole[::3], whole[:, 128:256], mx.broadcast_to(whole[:1], (5, 384))):
        assert_same(weight, mode)


@each_mode
def test_an_array_of_several_pieces_is_quantized_as_one(
    mode: tuple[str, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = as_weight(np.random.default_rng(6).standard_normal((67, 384)), mx.bfloat16)
    weight[5, 7] = mx.inf
    weight[60] = 0
    monkeypatch.setattr(rounding, "PIECE", 512)
    assert_same(weight, mode)


@each_dtype
def test_several_precisions_at_once_give_what_each_gives(dtype: mx.Dtype) -> None:
    weight = as_weight(np.random.default_rng(8).standard_normal((66, 384)), dtype)
    weight[5, 7], weight[6, :64], weight[7, :64] = mx.inf, 0, 1e-8
    orders = [Precision(size, bits, name) for name, size, bits in [*MODES, *MODES[::-1]]] + [Precision(64, 4, "affine")]
    for order, ours in zip(orders, quantize_rows_each(bytes_of(weight), dtype, orders), strict=True):
        theirs = mx.quantize(weight, group_size=order.group_size, bits=order.bits, mode=order.mode, stream=mx.cpu)
        for bits, expected in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(bits, bytes_of(expected))


@each_dtype
def test_threads_do_not_disturb_each_other(dtype: mx.Dtype) -> None:
    random = np.random.default_rng(7)
    weights = [as_weight(random.standard_normal((97, 384)), dtype) for _ in range(6)]
    mx.eval(weights)
    jobs = [(weight, mode) for weight in weights for mode in MODES]

    def job(order: tuple[mx.array, tuple[str, int, int]]) -> list[np.ndarray[Any, Any]]:
        weight, (name, size, bits) = order
        return [bytes_of(array) for array in quantize(weight, size, bits, name)]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(job, jobs))
    for (weight, (name, size, bits)), result in zip(jobs, results, strict=True):
        theirs = mx.quantize(weight, group_size=size, bits=bits, mode=name, stream=mx.cpu)
        for array, expected in zip(result, theirs, strict=True):
            np.testing.assert_array_equal(array, bytes_of(expected))


def digest() -> str:
    """Return a digest of what all modes make of the same weights."""
    whole = hashlib.sha256()
    values = np.random.default_rng(9).integers(-(1 << 20), 1 << 20, (66, 384)) * 2.0**-24
    for dtype in DTYPES:
        weight = as_weight(values, dtype)
        for name, size, bits in MODES:
            for array in quantize(weight, size, bits, name):
                whole.update(bytes_of(array).tobytes())
    return whole.hexdigest()


def test_the_bytes_do_not_depend_on_the_vector_instructions_of_the_machine() -> None:
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    if not found:
        pytest.skip("numpy finds no vector instructions here beyond its baseline")
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(rounding.__file__).parents[2])])
    code = "import test_rounding; print(test_rounding.digest())"
    env = {**os.environ, "PYTHONPATH": paths, "NPY_DISABLE_CPU_FEATURES": " ".join(found)}
    plain = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert plain.stdout.strip() == digest()


@pytest.mark.parametrize(
    ("shape", "size", "bits", "mode"),
    [
        ((2, 100), 64, 4, "affine"),
        ((128,), 64, 4, "affine"),
        ((2, 128), 64, 7, "affine"),
        ((2, 128), 16, 4, "affine"),
        ((2, 128), 64, 4, "mxfp4"),
        ((3, 16), 16, 4, "nvfp4"),
        ((2, 128), 64, 4, "other"),
    ],
)
def test_what_mlx_refuses_is_refused_with_its_words(shape: tuple[int, ...], size: int, bits: int, mode: str) -> None:
    weight = mx.zeros(shape)
    with pytest.raises(ValueError, match=r".+") as theirs:
        mx.quantize(weight, group_size=size, bits=bits, mode=mode, stream=mx.cpu)
    with pytest.raises(ValueError, match=r".+") as ours:
        quantize(weight, size, bits, mode)
    assert str(ours.value) == str(theirs.value)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_drawn_weights_are_rounded_as_mlx_rounds_them(data: st.DataObject) -> None:
    dtype, mode = data.draw(st.sampled_from(DTYPES)), data.draw(st.sampled_from(MODES))
    floats = st.floats(width=32) if dtype == mx.float32 else st.floats(width=16)
    groups = data.draw(st.integers(1, 5))
    few = data.draw(st.lists(floats, min_size=1, max_size=12))
    random = np.random.default_rng(data.draw(st.integers(0, 1 << 32)))
    spread = np.float32(2.0 ** data.draw(st.integers(-30, 10)))
    values = random.standard_normal((groups, 128)).astype(np.float32) * spread
    values[:, : len(few)] = few
    assert_same(as_weight(random.permuted(values, axis=1), dtype), mode)
