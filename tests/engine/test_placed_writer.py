"""Tensors that are written in any order give the files of those that are written one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- what is written are its arrays
import mlx_lm  # noqa: TID251 -- its shards
import numpy as np
import pytest

from mlx_publish.engine import placed_writer
from mlx_publish.engine.placed_writer import PlacedWriter
from mlx_publish.engine.rows import bits_of
from mlx_publish.engine.stream import ShardWriter
from mlx_publish.engine.streaming_spill import Spill
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.evidence.digests import sha256_of
from streamed import made, taken

PLANNED = [
    ("a", mx.arange(24.0).reshape(2, 3, 4)),
    ("none", mx.zeros((0, 4))),
    ("b", mx.arange(5).astype(mx.bfloat16)),
    ("c", mx.array(1.5)),
    ("d", mx.arange(64).reshape(8, 8).astype(mx.uint8)),
    ("e", mx.array([True, False])),
]


def shards_of(monkeypatch: pytest.MonkeyPatch, bytes_: int) -> None:
    class Limit(int):
        def __lshift__(self, _: int) -> int:
            return bytes_

    def shards(weights: dict[str, mx.array]) -> list[dict[str, mx.array]]:
        return list(mlx_lm.utils.make_shards(weights, Limit(1)))

    monkeypatch.setattr("mlx_publish.engine.backends.mlx_lm.shards", shards)


@pytest.mark.parametrize("limit", [1 << 30, 60, 1])
def test_files_headers_index_and_digests_are_those_of_the_ordinary_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    shards_of(monkeypatch, limit)
    monkeypatch.setattr(placed_writer, "_WORTH", 40)
    with ShardWriter(tmp_path / "one", PLANNED, 7) as one:
        for name, array in PLANNED:
            one.write(name, bits_of(array))
        one.finish()
    with PlacedWriter(tmp_path / "other", PLANNED, 7) as other:
        for name, array in reversed(PLANNED):
            bits = bits_of(array)
            if name in "ad":
                rows = bits.reshape(-1, bits.shape[-1])
                for row in range(len(rows) - 1, -1, -1):
                    other.write_rows(name, rows[row : row + 1], row, row + 1, len(rows)).result()
            else:
                other.write(name, bits)
        other.finish()
    assert one.sha256 == other.sha256
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {path.name for path in (tmp_path / "other").iterdir()}
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
        assert other.sha256[name] == sha256_of(tmp_path / "other" / name)


def test_what_lies_there_is_taken_as_it_is(tmp_path: Path) -> None:
    with PlacedWriter(tmp_path, PLANNED, 7) as first:
        assert first.fresh
        first.write("a", bits_of(PLANNED[0][1]))
    with PlacedWriter(tmp_path, PLANNED, 7) as second:
        assert not second.fresh
        second.written("a", 0, 1, 1)
        for name, array in PLANNED[1:]:
            second.write(name, bits_of(array))
        second.finish()
    read: Any = mx.load(str(tmp_path / "model.safetensors"))
    assert {name: array.tolist() for name, array in read.items()} == {name: array.tolist() for name, array in PLANNED}
    assert second.sha256["model.safetensors"] == sha256_of(tmp_path / "model.safetensors")
    with PlacedWriter(tmp_path, PLANNED[:3], 7) as other:
        assert other.fresh


def test_what_was_not_announced_is_an_error(tmp_path: Path) -> None:
    with PlacedWriter(tmp_path, PLANNED, 7) as writer:
        with pytest.raises(ValueError, match="x was not announced"):
            writer.write("x", np.zeros(1))
        with pytest.raises(ValueError, match="a has other rows than announced"):
            writer.write("a", np.zeros(1))
        with pytest.raises(ValueError, match="a has no such rows"):
            writer.write_rows("a", np.zeros(1), 0, 1, 7)
        writer.write("b", bits_of(PLANNED[2][1]))
        with pytest.raises(ValueError, match="b is written already"):
            writer.write("b", bits_of(PLANNED[2][1]))
        with pytest.raises(ValueError, match="a was announced but not written whole"):
            writer.finish()


def test_the_space_of_a_spilled_tensor_is_given_back_as_soon_as_nobody_needs_it(tmp_path: Path) -> None:
    source = made(tmp_path / "source", "llama", shards=2, hidden=256)
    files = TensorFiles(source)
    tensors = sorted(files.stored.values(), key=lambda tensor: -tensor.info.nbytes)[:4]
    spill = Spill(tmp_path / "spill", {})
    places = spill.put("1", tensors, files)
    spill.put("2", tensors[:1], files)
    with (tmp_path / "spill" / "1").open("rb") as file:
        for tensor in tensors[1:]:
            _, offset, size = places[tensor.info.name]
            file.seek(offset)
            kept = bytearray(size)
            files.read_into(tensor.path, tensor.offset, memoryview(kept))
            assert file.read(size) == kept
    spill.drop([tensors[0].info.name])
    assert not (tmp_path / "spill" / "2").exists()
    before = taken(tmp_path / "spill")
    spill.drop([tensors[1].info.name])
    assert taken(tmp_path / "spill") <= before - tensors[1].info.nbytes
    again = Spill(tmp_path / "spill", {tensors[2].info.name: spill.places[tensors[2].info.name]})
    again.drop([tensors[2].info.name])
    assert not list((tmp_path / "spill").iterdir())
