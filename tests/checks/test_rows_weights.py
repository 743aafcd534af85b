"""Weights: there, whole, one set, as the index says, in numbers that can be kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headers import LAYERS, POINTER, Tensors, facts, failures, find, header_bytes, index_bytes, weight_bytes
from mlx_publish.errors import Refused
from mlx_publish.model.weights import parse_header, read_header

INDEX = "model.safetensors.index.json"
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
A: Tensors = {"model.embed_tokens.weight": ("BF16", (128, 64))}
B: Tensors = {"model.norm.weight": ("BF16", (64,))}
MAP = dict.fromkeys(A, FIRST) | dict.fromkeys(B, SECOND)
SHARDS: dict[str, Any] = {
    "model.safetensors": None,
    FIRST: weight_bytes(A),
    SECOND: weight_bytes(B),
    INDEX: index_bytes(MAP),
}


def test_shards_with_their_index_pass() -> None:
    assert failures(facts(SHARDS)) == []
    assert failures(facts(SHARDS | {INDEX: None})) == []


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"model.safetensors": None, "pytorch_model.bin": b"x"}, "no safetensors weights; it has pytorch_model.bin"),
        ({"model.safetensors": None, "m.gguf": b"x", "tf_model.h5": b"x"}, "it has m.gguf, tf_model.h5"),
        ({"model.safetensors": None, "consolidated.safetensors": b"x"}, "it has consolidated.safetensors"),
        ({"model.safetensors": None}, "no safetensors weights"),
        ({"model.safetensors": None, "adapter_config.json": b"{}"}, "is an adapter"),
        ({"model.safetensors": POINTER}, "model.safetensors is a git-lfs pointer"),
        ({"model.safetensors": b""}, "model.safetensors is empty"),
        (SHARDS | {SECOND: None}, f"missing files: {SECOND}"),
        (SHARDS | {SECOND: None, INDEX: None}, f"are missing: {SECOND}"),
        (SHARDS | {SECOND: POINTER}, f"{SECOND} is a git-lfs pointer"),
        ({"model.safetensors": None, "model-00001-of-00003.safetensors": weight_bytes(A)}, "model-00003-of-00003"),
        (
            {INDEX: index_bytes(dict.fromkeys(LAYERS, "w.safetensors")), "w.safetensors": weight_bytes(LAYERS)},
            "named model*",
        ),
        (
            {INDEX: index_bytes(dict.fromkeys(LAYERS, "a/m.safetensors")), "a/m.safetensors": weight_bytes(LAYERS)},
            "a/m.saf",
        ),
    ],
)
def test_weights_that_are_not_there_are_named(files: dict[str, Any], words: str) -> None:
    source = facts(files)
    assert failures(source) == ["weights-present"]
    assert words in find("weights-present", source).message


@pytest.mark.parametrize("path", ["../model.safetensors", "/etc/passwd", "a/../../model.safetensors", "..\\x"])
def test_an_index_that_leaves_the_model_is_refused_for_ever(path: str) -> None:
    accept = [{"check": "paths-inside", "reason": "I do trust them, really"}]
    source = facts({INDEX: index_bytes(dict.fromkeys(LAYERS, path))}, accept=accept)
    finding = find("paths-inside", source)
    assert finding.status == "fail"
    assert path in finding.message


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"model.fp16.safetensors": weight_bytes(LAYERS)}, "model.fp16.safetensors"),
        (SHARDS | {"model.safetensors": weight_bytes(LAYERS)}, "model.safetensors"),
        (SHARDS | {INDEX: None, "model.fp16.safetensors": b"x"}, "model.fp16.safetensors"),
    ],
)
def test_of_two_sets_one_is_taken_and_that_is_told(files: dict[str, Any], message: str) -> None:
    source = facts(files)
    finding = find("one-weight-set", source)
    assert (finding.status, message in finding.message) == ("warn", True)
    assert failures(source) == []
    assert message not in source.source.weights


@pytest.mark.parametrize(
    "names",
    [
        ["model.fp16.safetensors", "model.fp32.safetensors"],
        ["model-00001-of-00001.safetensors", FIRST, SECOND],
    ],
)
def test_several_sets_and_no_word_which_is_meant(names: list[str]) -> None:
    source = facts({"model.safetensors": None, **dict.fromkeys(names, weight_bytes(A))})
    assert failures(source) == ["one-weight-set"]
    assert "no index to choose between them" in find("one-weight-set", source).message


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (
            {INDEX: index_bytes(MAP | {"lost.weight": FIRST})},
            "1 tensor(s) that are not in their files, first lost.weight",
        ),
        ({INDEX: index_bytes(MAP | {"model.norm.weight": FIRST})}, "first model.norm.weight in"),
        ({SECOND: weight_bytes({**B, "extra.weight": ("BF16", (2,))})}, "not in the index, first extra.weight of"),
    ],
)
def test_an_index_that_lies(files: dict[str, Any], words: str) -> None:
    source = facts(SHARDS | files)
    assert failures(source) == ["source-index"]
    assert words in find("source-index", source).message


def test_a_tensor_in_two_files() -> None:
    source = facts(SHARDS | {INDEX: None, SECOND: weight_bytes({**A, **B})})
    assert failures(source) == ["tensors-once"]
    assert "model.embed_tokens.weight is in several" in find("tensors-once", source).message


def test_no_tensors_at_all() -> None:
    assert "tensors-once" in failures(facts(tensors={}))


def test_a_file_cut_short_is_named() -> None:
    source = facts({"model.safetensors": weight_bytes(LAYERS)[:-100]})
    assert failures(source) == ["readable"]
    assert "model.safetensors: has" in find("readable", source).message


def entry(first: int, last: int, shape: tuple[object, ...] = (2,), dtype: str = "BF16") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"a": entry(0, 4), "b": entry(2, 6)}, "b overlaps others"),
        ({"a": entry(0, 4), "b": entry(8, 12)}, "b begins after a gap"),
        ({"a": entry(4, 0)}, "impossible"),
        ({"a": entry(0, 8)}, "not those of"),
        ({"a": entry(0, 4, (10**12,))}, "not those of"),
        ({"a": entry(0, 4, (-1, -2))}, "impossible"),
        ({"a": entry(0, 4, (True, 2))}, "impossible"),
        ({"a": entry(0, 4, (0.5,))}, "impossible"),
        ({"a": {"dtype": "BF16", "shape": [2], "data_offsets": ["0", "4"]}}, "impossible"),
    ],
)
def test_headers_that_cannot_be(tmp_path: Path, header: object, words: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(header_bytes(header, 16))
    with pytest.raises(Refused, match=words) as caught:
        read_header(path)
    assert str(caught.value).startswith("model.safetensors: is not safetensors")
    assert failures(facts({"model.safetensors": path.read_bytes()})) == ["readable"]


def test_a_name_twice_in_one_header() -> None:
    text = (
        b'{"a": {"dtype":"U8","shape":[1],"data_offsets":[0,1]}, "a": {"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    )
    with pytest.raises(ValueError, match="'a' appears twice"):
        parse_header(len(text).to_bytes(8, "little") + text + b"0")


def test_small_types_have_the_bytes_of_their_bits() -> None:
    assert [t.nbytes for t in parse_header(weight_bytes({"a": ("F4", (4, 2)), "b": ("F8_E8M0", (3,))}))] == [4, 3]


MATRIX = "model.embed_tokens.weight"


@pytest.mark.parametrize(
    ("tensors", "keys", "words"),
    [
        ({MATRIX: ("F64", (128, 64))}, {}, "float64"),
        ({MATRIX: ("F32", (128, 64)), "b.weight": ("BF16", (64, 64))}, {}, "several dtypes: float32, bfloat16"),
        ({MATRIX: ("BF16", (128, 64))}, {"variants": ["fp16"]}, "float16 is requested, but the source has bfloat16"),
        ({MATRIX: ("F32", (128, 64))}, {"variants": ["fp16"]}, "above 65504"),
    ],
)
def test_precision_is_told(tensors: Tensors, keys: dict[str, Any], words: str) -> None:
    source = facts(tensors=tensors, **keys)
    finding = find("source-precision", source)
    assert (finding.status, failures(source)) == ("warn", [])
    assert words in finding.message


def test_norms_of_another_type_are_usual() -> None:
    finding = find(
        "source-precision", facts(tensors={**A, "n.weight": ("F32", (64,))}, config={"torch_dtype": "float16"})
    )
    assert finding.status == "pass"
    assert finding.message == "matrices are stored as bfloat16, and config.json declares float16"
