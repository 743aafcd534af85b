"""The size of a model that does not exist yet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlx_publish.model.size import conversion_memory, estimate_bytes
from mlx_publish.model.weights import TensorInfo, parse_header
from mlx_publish.recipes.recipe import Variant
from samples import quantized_layer, weight_file

LAYER = TensorInfo("layer.weight", "BF16", (64, 256), 2 * 64 * 256)
NORM = TensorInfo("norm.weight", "BF16", (256,), 512)
ODD = TensorInfo("odd.weight", "BF16", (8, 144), 2 * 8 * 144)
WIDE = TensorInfo("layer.weight", "F32", (64, 256), 4 * 64 * 256)


@pytest.mark.parametrize(
    ("keys", "dtype"),
    [
        ({}, "BF16"),
        ({"bits": 8}, "BF16"),
        ({"bits": 3, "group_size": 32}, "BF16"),
        ({"bits": 4, "dtype": "float16"}, "F16"),
        ({"bits": 4, "dtype": "float32"}, "F32"),
        ({"bits": 4, "dtype": "float32", "group_size": 32}, "F32"),
        ({"mode": "mxfp4"}, "BF16"),
        ({"mode": "mxfp8"}, "BF16"),
        ({"mode": "nvfp4"}, "BF16"),
    ],
)
def test_the_estimate_is_what_mlx_packs(keys: dict[str, Any], dtype: str) -> None:
    variant = Variant(**keys)
    assert variant.form.bits
    assert variant.form.group_size
    packed = quantized_layer(
        64, 256, variant.form.bits, variant.form.group_size, mode=variant.form.mode or "affine", dtype=dtype
    )
    built = sum(tensor.nbytes for tensor in parse_header(weight_file(packed)))
    assert estimate_bytes([LAYER], variant) == built


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, 512 + 2 * 8 * 144),
        ({"group_size": 128, "bits": 4}, 512 + 2 * 8 * 144),
        ({"mode": "nvfp4"}, 512 + 8 * 144 * 4.5 / 8),
        ({"bits": 4, "dtype": "float32"}, 2 * (512 + 2 * 8 * 144)),
    ],
)
def test_what_no_group_fits_stays_as_it_is(keys: dict[str, Any], expected: float) -> None:
    assert estimate_bytes([NORM, ODD], Variant(**keys)) == expected


def test_a_type_alone_is_unquantized() -> None:
    assert estimate_bytes([LAYER, NORM], Variant(dtype="float32")) == 2 * (LAYER.nbytes + NORM.nbytes)
    assert estimate_bytes([WIDE], Variant(dtype="bfloat16")) == LAYER.nbytes


def test_without_a_type_the_declared_one_counts_and_then_the_stored_one() -> None:
    assert estimate_bytes([WIDE], Variant()) == 64 * 256 * 5 / 8
    assert estimate_bytes([WIDE], Variant(), "bfloat16") == 64 * 256 * 4.5 / 8
    assert estimate_bytes([WIDE], Variant(), "float8") == 64 * 256 * 5 / 8


def test_mixed_recipes_have_an_upper_bound() -> None:
    assert estimate_bytes([LAYER], Variant(mixed="mixed_3_6")) == 64 * 256 * 6.5 / 8


def test_an_empty_tensor_takes_no_room() -> None:
    assert estimate_bytes([TensorInfo("x", "BF16", (0, 64), 0)], Variant()) == 0


def test_the_memory_of_a_conversion_does_not_grow_with_the_model() -> None:
    small = [TensorInfo("model.layers.0.mlp.up_proj.weight", "BF16", (1024, 1024), 2 << 20)]
    large = [replace(small[0], name=f"model.layers.{layer}.mlp.up_proj.weight") for layer in range(80)]
    assert conversion_memory(small, 1, 2) == conversion_memory(large, 1, 2)
    usual, most = conversion_memory(large, 3, 8)
    assert usual - conversion_memory(large, 1, 8)[0] == 8 * 2 * (7 << 20)
    assert most - usual == 2 * (2 << 20)
    two = [*large, replace(large[0], name="model.layers.0.mlp.down_proj.weight")]
    assert conversion_memory(two, 3, 8) == (usual, most + 2 * (2 << 20))
