"""Weights by their headers alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.errors import Refused
from mlx_publish.model.weights import (
    TensorInfo,
    bits_per_weight,
    parameter_count,
    parse_header,
    read_header,
    weight_files,
)
from samples import quantized_layer, weight_file

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
WHOLE = weight_file({"a": ("BF16", (2, 3)), "b": ("F32", ())})


def with_header(header: object) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def test_a_header_gives_types_shapes_and_sizes(file: Path) -> None:
    file.write_bytes(WHOLE)
    tensors = read_header(file)
    assert tensors == (TensorInfo("a", "BF16", (2, 3), 12), TensorInfo("b", "F32", (), 4))
    assert [tensor.size for tensor in tensors] == [6, 1]
    assert parse_header(WHOLE[:-16]) == tensors


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (WHOLE[:-1], f"model.safetensors: has {len(WHOLE) - 1:,} of the {len(WHOLE):,} bytes that its header promises"),
        (WHOLE[:-16], f"model.safetensors: has {len(WHOLE) - 16:,} of the {len(WHOLE):,} bytes"),
        (WHOLE[:20], "model.safetensors: is not safetensors: no safetensors header"),
        (b"", "model.safetensors: is not safetensors: no safetensors header"),
        (POINTER, "model.safetensors: is a git-lfs pointer, not the weights"),
        (b"PK\x03\x04" + bytes(100), "model.safetensors: is not safetensors: no safetensors header"),
        (bytes(8), "model.safetensors: is not safetensors: no safetensors header"),
        (b"\x04" + bytes(7) + b"nope", "model.safetensors: is not safetensors: not valid JSON: Expecting value"),
        (b"\x02" + bytes(7) + b"\xff\xff", "model.safetensors: is not safetensors: not UTF-8"),
        (with_header([1]), "model.safetensors: is not safetensors: "),
        (with_header("text"), "model.safetensors: is not safetensors: "),
        (with_header({"a": 5}), "model.safetensors: is not safetensors: "),
        (with_header({"a": {"dtype": "F32"}}), "model.safetensors: is not safetensors: "),
        (with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}), "model.safetensors: is not safe"),
        (with_header({"a": {"dtype": "F32", "shape": None, "data_offsets": [0, 4]}}), "model.safetensors: is not"),
    ],
)
def test_what_is_no_whole_weight_file_is_named(file: Path, data: bytes, message: str) -> None:
    file.write_bytes(data)
    with pytest.raises(Refused) as caught:
        read_header(file)
    assert str(caught.value).startswith(message)
    assert caught.value.remedy == "Download the file again, whole."


def test_a_length_that_is_too_large_is_not_believed(file: Path) -> None:
    file.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with pytest.raises(Refused, match="no safetensors header"):
        read_header(file)


def test_the_index_names_the_one_set() -> None:
    there = ["model.safetensors", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = {"weight_map": {"a": there[2], "b": there[1], "c": there[2]}}
    assert weight_files(there, index) == (there[1], there[2])


@pytest.mark.parametrize(
    ("paths", "chosen"),
    [
        (["model.safetensors", "model.fp16.safetensors"], ("model.safetensors",)),
        (
            ["model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors", "adapter.safetensors"],
            ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        ),
        (["onnx/model.safetensors", "pytorch_model.bin"], ()),
        (["consolidated.safetensors"], ()),
    ],
)
def test_without_an_index_the_names_decide(paths: list[str], chosen: tuple[str, ...]) -> None:
    assert weight_files(paths, None) == chosen


@pytest.mark.parametrize("index", [{}, {"weight_map": []}, {"weight_map": {"a": 5}}, {"weight_map": {"a": ["x"]}}])
def test_an_index_that_is_none_is_named(index: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=r"^model\.safetensors\.index\.json: has no weight_map"):
        weight_files(["model.safetensors"], index)


@pytest.mark.parametrize(
    ("bits", "group", "mode", "dtype", "expected"),
    [
        (4, 64, "affine", "BF16", 4.5),
        (8, 64, "affine", "BF16", 8.5),
        (4, 32, "affine", "BF16", 5.0),
        (2, 128, "affine", "F16", 2.25),
        (4, 64, "affine", "F32", 5.0),
        (4, 32, "mxfp4", "", 4.25),
        (8, 32, "mxfp8", "", 8.25),
        (4, 16, "nvfp4", "", 4.5),
    ],
)
def test_bits_per_weight(bits: int, group: int, mode: str, dtype: str, expected: float) -> None:
    tensors = parse_header(weight_file(quantized_layer(8, 256, bits, group, mode=mode, dtype=dtype)))
    block = {"bits": bits, "group_size": group, "mode": mode}
    assert parameter_count(tensors, block) == 8 * 256
    assert bits_per_weight(tensors, block) == expected


def test_norms_and_biases_count_as_they_are() -> None:
    layer = quantized_layer(8, 256, 4, 64)
    tensors = parse_header(weight_file({**layer, "layer.bias": ("BF16", (8,)), "norm.weight": ("BF16", (256,))}))
    assert parameter_count(tensors, {"bits": 4, "group_size": 64}) == 8 * 256 + 8 + 256
    assert parameter_count(tensors) == sum(tensor.size for tensor in tensors)


def test_a_layer_may_have_its_own_group() -> None:
    tensors = parse_header(weight_file(quantized_layer(8, 256, 8, 32)))
    assert parameter_count(tensors, {"group_size": 64, "layer": {"group_size": 32, "bits": 8}}) == 8 * 256
    assert parameter_count(tensors, {"group_size": 64, "other": {"group_size": 32}}) == 2 * 8 * 256


def test_unquantized_weights_and_none_at_all() -> None:
    assert bits_per_weight(parse_header(weight_file({"a": ("BF16", (4, 4))})), None) == 16
    assert bits_per_weight((), None) == 0
