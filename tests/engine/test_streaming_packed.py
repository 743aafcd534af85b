"""A quantized source that arrives shard by shard is proven, read and repacked as one that lies there."""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fp8_source import in_fp8, write_any
from mlx_publish.engine.streaming_arrivals import ArrivingFiles
from mlx_publish.errors import Refused
from mlx_publish.evidence.conversion import Conversion, VariantOrder
from mlx_publish.evidence.records import to_json
from mlx_publish.model.packed import PACKED_FILE, packing_of
from mlx_publish.model.weights import read_header
from streamed import ORDERS, Parent, by_stream, digests, lived, made, ordinary
from tensor_file import float32, read_tensors

MXFP8 = VariantOrder("", "mxfp8", True, 8, 32, "mxfp8", None, None)
MIXED = [MXFP8, ORDERS[0], ORDERS[-1]]


def packed(
    folder: Path, arch: str, shards: int = 6, *, other: str = "", hidden: int = 128, bias: float | None = None
) -> Path:
    """Make a source in fp8, scattered over shards; the scales of tensors with `other` in their names are no powers.

    With a `bias` one layer has one, for which the class has no parameter.
    """
    source = made(folder, arch, shards=1, hidden=hidden)
    [file] = source.glob("*.safetensors")
    tensors: dict[str, NDArray[Any]] = dict(read_tensors(file))
    for name in [name for name in tensors if name.endswith("_proj.weight")]:
        powers = not other or other not in name
        codes, scales = in_fp8(float32(tensors[name]), (32, 32), powers=powers)
        tensors[name], tensors[f"{name}_scale_inv"] = codes, scales
    if bias is not None:
        tensors["model.layers.1.mlp.down_proj.bias"] = np.full(hidden, bias, np.float16)
    for path in source.glob("*.safetensors*"):
        path.unlink()
    names = sorted(tensors)
    random.Random(3).shuffle(names)  # noqa: S311  any will do
    for number in range(shards):
        part = {name: tensors[name] for name in names[number::shards]}
        write_any(source / f"model-{number + 1:05}-of-{shards:05}.safetensors", part)
    infos = [info for path in sorted(source.glob("*.safetensors")) for info in read_header(path)]
    block = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [32, 32]}
    packing = packing_of({"quantization_config": block}, {}, infos, "bfloat16")
    (source / PACKED_FILE).write_text(json.dumps(to_json(packing)))
    return source


def same(tmp_path: Path, source: Path) -> Conversion:
    expected = ordinary(source, tmp_path / "ordinary", MIXED)
    parent = Parent(source, tmp_path / "work")
    assert by_stream(parent, tmp_path / "streamed", MIXED) == expected
    assert digests(tmp_path / "streamed") == digests(tmp_path / "ordinary")
    assert not list((tmp_path / "work" / "stream" / "spill").iterdir())
    return expected


@pytest.mark.parametrize("arch", ["llama", "qwen3_moe", "phi3", "deepseek_v3"])
def test_all_weights_are_proven_and_repacked(tmp_path: Path, arch: str) -> None:
    expected = same(tmp_path, packed(tmp_path / "source", arch))
    repacked = expected.variants["mxfp8"].repacked
    assert expected.packed
    assert expected.packed.weights > 7
    assert repacked
    assert repacked.groups


@pytest.mark.parametrize("arch", ["llama", "qwen3_moe"])
def test_scales_that_are_no_powers_of_two_leave_a_parameter_to_rounding(tmp_path: Path, arch: str) -> None:
    other = "layers.1.mlp" if arch == "llama" else "layers.1.mlp.experts.3"
    repacked = same(tmp_path, packed(tmp_path / "source", arch, other=other)).variants["mxfp8"].repacked
    assert repacked
    assert repacked.weights
    assert repacked.reasons


def test_after_a_kill_nothing_that_is_told_is_lost(tmp_path: Path) -> None:
    source = packed(tmp_path / "source", "qwen3_moe", other="layers.1.mlp.experts.3")
    expected = ordinary(source, tmp_path / "ordinary", MIXED)
    rng, kills = random.Random(5), 0  # noqa: S311  any will do
    for number in range(2):
        parent = Parent(source, tmp_path / f"work {number}", pieces=3)
        answer, target = tmp_path / f"answer {number}", tmp_path / f"streamed {number}"
        moment = rng.randint(6, 12)
        while not lived(parent, target, MIXED, rng.random() / 20, answer, partial(parent.has_come_to, moment)):
            kills += bool(parent.done())
            moment = parent.events + rng.randint(0, 6)
        assert answer.read_text() == repr(to_json(expected))
        assert digests(target) == digests(tmp_path / "ordinary")
    assert kills


def test_readers_that_differ_are_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = packed(tmp_path / "source", "llama")
    parent = Parent(source, tmp_path / "work")
    read = ArrivingFiles.read_into

    def wrong(self: Any, path: Path, start: int, buffer: memoryview) -> None:
        read(self, path, start, buffer)
        if len(buffer) > 4096:  # what the quick reader takes at once
            np.frombuffer(buffer, np.uint8)[-1:] ^= 1

    monkeypatch.setattr(ArrivingFiles, "read_into", wrong)
    with pytest.raises(Refused, match="two readers of its quantized weights"):
        by_stream(parent, tmp_path / "streamed", MIXED)


def test_a_bias_without_a_parameter_goes_if_it_is_zeros(tmp_path: Path) -> None:
    dropped = same(tmp_path, packed(tmp_path / "source", "llama", bias=0.0)).tensors.dropped
    assert dropped["model.layers.1.mlp.down_proj.bias"] == "a bias of zeros"
    source = packed(tmp_path / "other", "llama", bias=0.5)
    with pytest.raises(Refused, match="cannot build the model"):
        ordinary(source, tmp_path / "o", MIXED)
    with pytest.raises(Refused, match="cannot build the model"):
        by_stream(Parent(source, tmp_path / "w"), tmp_path / "s", MIXED)
