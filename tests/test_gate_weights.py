"""The weights that convert writes are mlx-lm's, tensor by tensor, and so is config.json but for what was mended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- what is compared with
import mlx_lm  # noqa: TID251
import mlx_lm.utils  # noqa: TID251
import numpy as np
import pytest
import safetensors

from gate import gate, loaded, same_tensors, stored, stored_dtypes
from mlx_publish.engine.rows import bits_of
from mlx_publish.engine.stream import ShardWriter
from mlx_publish.evidence.digests import sha256_of
from models import ARCHITECTURES, make_model
from pipeline import read_json

QUANTIZED = {"quantize": True, "q_group_size": 64}
# Our label -> how mlx-lm is asked for the same.
VARIANTS: dict[str, dict[str, Any]] = {
    "4bit": {**QUANTIZED, "q_bits": 4},
    "8bit": {**QUANTIZED, "q_bits": 8},
    "mxfp4": {"quantize": True, "q_group_size": 32, "q_bits": 4, "q_mode": "mxfp4"},
    "bf16": {"dtype": "bfloat16"},
}
MIXED = {**QUANTIZED, "q_bits": 4, "quant_predicate": "mixed_3_6"}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_variant_equals_what_mlx_lm_makes(tmp_path: Path, arch: str) -> None:
    wanted = VARIANTS | ({"mixed_3_6": MIXED} if arch == "llama" else {})
    tied = arch in ("gemma2", "qwen2", "qwen3")
    source = make_model(tmp_path / "m", arch, layers=8 if arch == "llama" else 2, tie=tied, shards=2)
    made = gate(source, "--variants", ",".join(wanted))
    for label, options in wanted.items():
        theirs = tmp_path / "theirs" / label
        theirs.parent.mkdir(exist_ok=True)
        mlx_lm.convert(str(source), str(theirs), **options)
        folder = made.model(label)
        assert same_tensors(folder, theirs), label
        assert read_json(folder / "model.safetensors.index.json") == read_json(theirs / "model.safetensors.index.json")
        ours, config = made.config(label), read_json(theirs / "config.json")
        assert ours == config, label
        assert list(ours) == list(config)
        assert set(made.status(label).values()) <= {"pass", "skip", "warn"}
    # The order of the tensors in the file does not matter to a reader, their place does.
    model, _ = loaded(made.model("4bit"))
    assert model.model_type == arch


TYPES = {
    "BF16": mx.bfloat16,
    "F16": mx.float16,
    "F32": mx.float32,
    "U32": mx.uint32,
    "U8": mx.uint8,
    "I8": mx.int8,
    "I32": mx.int32,
    "I64": mx.int64,
    "U16": mx.uint16,
    "I16": mx.int16,
    "BOOL": mx.bool_,
    "U64": mx.uint64,
}


def arrays() -> list[tuple[str, mx.array]]:
    """Some of each type, with odd sizes, none and no dimension at all, views and values that are computed late."""
    mx.random.seed(7)
    found = [(f"a.{name}", mx.random.randint(0, 2, (3, 5)).astype(dtype)) for name, dtype in TYPES.items()]
    wide = mx.random.normal((40, 30))
    return [
        *found,
        ("b.scalar", mx.array(1.5)),
        ("b.none", mx.zeros((0, 4))),
        ("b.turned", wide.T),
        ("b.part", wide[::2, 3:7]),
        ("b.half", (wide * 3).astype(mx.bfloat16).T),
        ("c", mx.broadcast_to(wide[0], (9, 30))),
    ]


class Limit(int):
    """A limit in bytes where mlx-lm shifts one in GB."""

    def __lshift__(self, _: int) -> int:
        return int(self)


@pytest.mark.parametrize("limit", [5 << 30, 3000, 1], ids=["one file", "some", "one each"])
def test_shards_are_those_of_mlx_lm_and_hold_every_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    def shards(weights: dict[str, mx.array]) -> list[dict[str, mx.array]]:
        return list(mlx_lm.utils.make_shards(weights, Limit(limit)))

    monkeypatch.setattr("mlx_publish.engine.backends.mlx_lm.shards", shards)
    planned = arrays()
    writer = ShardWriter(tmp_path / "ours", planned, 7)
    for name, array in planned:
        writer.write(name, bits_of(array))
    writer.finish()
    theirs = shards(dict(planned))
    names = [path.name for path in sorted((tmp_path / "ours").glob("*.safetensors"))]
    count = len(theirs)
    assert names == (
        ["model.safetensors"]
        if count == 1
        else [f"model-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)]
    )
    index = json.loads((tmp_path / "ours/model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": sum(array.nbytes for _, array in planned), "total_parameters": 7}
    for name, shard in zip(names, theirs, strict=True):
        path = tmp_path / "ours" / name
        with safetensors.safe_open(str(path), framework="numpy") as file:
            assert file.metadata() == {"format": "mlx"}
            assert set(file.keys()) == set(shard)
        assert {key for key, where in index["weight_map"].items() if where == name} == set(shard)
        read: Any = mx.load(str(path))
        for key, array in read.items():
            assert (array.dtype, array.shape) == (shard[key].dtype, shard[key].shape)
            assert mx.array_equal(array, shard[key])
    kinds = stored_dtypes(tmp_path / "ours")
    assert {kinds[f"a.{name}"] for name in TYPES} == set(TYPES)
    assert np.array_equal(stored_float(tmp_path / "ours", "b.turned"), np.array(dict(planned)["b.turned"]))


def stored_float(folder: Path, name: str) -> Any:
    """One tensor of float32 by the safetensors library."""
    for path in folder.glob("*.safetensors"):
        with safetensors.safe_open(str(path), framework="numpy") as file:
            if name in set(file.keys()):
                return file.get_tensor(name)
    raise KeyError(name)


def test_a_writer_takes_tensors_in_pieces_and_before_their_turn_and_digests_its_files(tmp_path: Path) -> None:
    planned = [("a", mx.arange(6.0).reshape(3, 2)), ("none", mx.zeros((0, 4))), ("b", mx.arange(5.0))]
    with ShardWriter(tmp_path / "m", planned, 5) as writer:
        writer.write("b", np.arange(5, dtype=np.float32)[:2])
        writer.write("b", np.arange(5, dtype=np.float32)[2:])
        writer.write("a", np.arange(2, dtype=np.float32))
        writer.write("a", np.arange(2, 6, dtype=np.float32))
        writer.finish()
    read: Any = mx.load(str(tmp_path / "m/model.safetensors"))
    assert {name: array.tolist() for name, array in read.items()} == {name: array.tolist() for name, array in planned}
    assert writer.sha256 == {path.name: sha256_of(path) for path in (tmp_path / "m").iterdir()}


def test_a_writer_that_is_given_other_tensors_than_it_was_told_of_says_so(tmp_path: Path) -> None:
    planned = [("a", mx.zeros((2,))), ("b", mx.zeros((3,)))]
    writer = ShardWriter(tmp_path / "m", planned, 5)
    with pytest.raises(ValueError, match="c was not announced"):
        writer.write("c", np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="a is longer than announced"):
        writer.write("a", np.zeros(3, np.float32))
    writer.write("a", np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="b was announced but not written"):
        writer.finish()
    writer.write("b", np.zeros(3, np.float32))
    writer.finish()
    with pytest.raises(ValueError, match="a was not announced, or is written already"):
        writer.write("a", np.zeros(2, np.float32))
    assert stored(tmp_path / "m").keys() == {"a", "b"}
