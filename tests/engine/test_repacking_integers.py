"""Integers of a source as affine weights of MLX: what MLX makes of them is what the source stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- what is repacked is read by it
import numpy as np
import pytest

import packed_writers as writers
from mlx_publish.engine.repacked import Repack
from mlx_publish.engine.repacking import repack_of
from mlx_publish.engine.rounding import Precision
from packed_sources import AWQ, CASES, GPTQ, Source, ct
from packed_writers import Numbers, layer
from tensor_file import float32

ABLE = [name for name, (of, _, _) in CASES.items() if "order" not in name and of.bits != 7 and of.group % 32 == 0]


def repack(source: Source, group: int, bits: int, mode: str = "affine", dtype: mx.Dtype = mx.float32) -> Repack | str:
    """How the layer of a source is repacked, or why it is not."""
    return repack_of(source.packing.weights[0], Precision(group, bits, mode), dtype, source.files)


def read(source: Source, made: Repack | str, group: int, bits: int, dtype: mx.Dtype = mx.float32) -> Numbers:
    """The weights that MLX makes of all rows, in pieces that do not end where words do."""
    assert not isinstance(made, str), made
    rows, pieces = source.derived.shape[0], []
    for first in range(0, rows, 7):
        codes, scales, biases = (mx.array(part) for part in made.read(source.files, first, min(rows, first + 7)).parts)
        scales, biases = (mx.view(part, dtype).astype(mx.float32) for part in (scales, biases))
        pieces.append(np.array(mx.dequantize(codes, scales, biases, group, bits, stream=mx.cpu)))
    return np.concatenate(pieces)


@pytest.mark.parametrize("name", ABLE)
def test_affine_weights_of_mlx_are_the_source_exactly(tmp_path: Path, name: str) -> None:
    of, tensors, block = CASES[name]
    source = Source(tmp_path, tensors, block, "float32")
    made = repack(source, 32, of.bits)
    assert np.array_equal(read(source, made, 32, of.bits), of.values)


@pytest.mark.parametrize("group", [32, 64, 128])
def test_a_group_of_128_is_also_several_smaller_ones(tmp_path: Path, group: int) -> None:
    of = layer(64, 256, group=128)
    block: dict[str, Any]
    for number, (tensors, block) in enumerate(((writers.awq(of), AWQ), (writers.gptq(of), GPTQ))):
        source = Source(tmp_path / str(number), tensors, block | {"group_size": 128}, "float32")
        assert np.array_equal(read(source, repack(source, group, 4), group, 4), of.values)


def test_symmetric_weights_are_exact_in_the_type_of_their_scales(tmp_path: Path) -> None:
    for number, (kind, dtype) in enumerate((("float16", mx.float16), ("bfloat16", mx.bfloat16))):
        of = layer(64, 96, symmetric=True, kind=kind)
        tensors = writers.compressed(of, symmetric=True)
        source = Source(tmp_path / str(number), tensors, ct(), kind)
        made = repack(source, 32, 4, dtype=dtype)
        assert np.array_equal(read(source, made, 32, 4, dtype), of.values)
        assert not isinstance(made, str)
        part = made.read(source.files, 0, 64)
        assert (part.rounded, part.off) == (0, 0)


def test_what_a_type_rounds_off_scales_and_biases_is_told(tmp_path: Path) -> None:
    of = layer(64, 96)
    source = Source(tmp_path, writers.awq(of), AWQ, "bfloat16")
    made = repack(source, 32, 4, dtype=mx.bfloat16)
    weights = read(source, made, 32, 4, mx.bfloat16)
    assert not isinstance(made, str)
    part = made.read(source.files, 0, 64)
    steps = np.abs(weights - of.values.astype(np.float64)) / float32(np.asarray(part.parts[1])).repeat(32, axis=1)
    assert 0 < steps.max() <= part.off + 1e-5 < 0.1
    assert 0 < part.rounded <= 64 * 3


@pytest.mark.parametrize(
    ("name", "group", "bits", "mode", "words"),
    [
        ("gptq in another order", 32, 4, "affine", "do not lie side by side"),
        ("compressed in another order", 32, 4, "affine", "do not lie side by side"),
        ("gptq", 64, 4, "affine", "groups of 64 do not divide"),
        ("gptq", 32, 8, "affine", "it has 4 bits and 8 are asked for"),
        ("gptq", 32, 4, "mxfp4", "mxfp4 has no integers"),
        ("compressed by channel", 64, 4, "affine", "groups of 64 do not divide its 96 columns"),
    ],
)
def test_what_cannot_be_moved_says_why(tmp_path: Path, name: str, group: int, bits: int, mode: str, words: str) -> None:
    _, tensors, block = CASES[name]
    made = repack(Source(tmp_path, tensors, block, "bfloat16"), group, bits, mode)
    assert isinstance(made, str)
    assert words in made


def test_eight_bits_whose_biases_bfloat16_cannot_hold_are_rounded_anew(tmp_path: Path) -> None:
    _, tensors, block = CASES["gptq of 8 bits"]
    made = repack(Source(tmp_path, tensors, block, "bfloat16"), 32, 8, dtype=mx.bfloat16)
    assert made == (
        "scales and zero points are too far from what bfloat16 holds, rounding anew is nearer; with dtype: float16, as "
        "the source has them, they may be kept"
    )


def test_a_scale_that_is_no_number_is_not_moved(tmp_path: Path) -> None:
    _, tensors, block = CASES["awq"]
    wrong = tensors | {"scales": np.full_like(tensors["scales"], np.inf)}
    assert repack(Source(tmp_path, wrong, block, "float32"), 32, 4) == "a scale is no number"


@pytest.mark.parametrize("divides", [True, False])
def test_ternary_weights_are_affine_ones_of_two_bits(tmp_path: Path, divides: bool) -> None:
    ternary = np.random.default_rng(0).integers(-1, 2, (24, 64))
    block = {"quant_method": "bitnet", "linear_class": "bitlinear" if divides else "autobitlinear"}
    for number, dtype in enumerate(("float32", "bfloat16")):
        tensors = writers.bitnet(ternary, np.array([1.7], np.float32))
        source = Source(tmp_path / str(number), tensors, block, dtype)
        kind = {"float32": mx.float32, "bfloat16": mx.bfloat16}[dtype]
        made = repack(source, 32, 2, dtype=kind)
        weights = read(source, made, 32, 2, kind)
        bits = source.read()
        values = bits.view(np.float32) if dtype == "float32" else float32(bits)
        assert np.array_equal(weights, values)
        assert not isinstance(made, str)
        assert (made.read(source.files, 0, 24).off > 0) == (dtype == "bfloat16")
