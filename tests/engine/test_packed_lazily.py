"""What MLX computes of quantized weights is planned by their headers alone: a source that arrives has no more."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- it reads the files
import pytest

import packed_writers as writers
from mlx_publish.evidence.records import to_json
from mlx_publish.model.packed import PACKED_FILE, packing_of
from mlx_publish.model.weights import read_header
from models import make_model
from packed_models import Write, packed
from packed_sources import AWQ, CASES, GPTQ, Source, ct
from streamed import ORDERS, Parent, by_stream, dealt, digests, ordinary
from tensor_file import read_tensors

WAYS: dict[str, tuple[Write, dict[str, Any], dict[str, bool]]] = {
    "gptq": (writers.gptq, GPTQ, {}),
    "gptq in another order": (writers.gptq, GPTQ | {"desc_act": True}, {"permuted": True}),
    "awq": (writers.awq, AWQ, {}),
    "compressed-tensors": (functools.partial(writers.compressed, symmetric=True), ct(), {"symmetric": True}),
}


@pytest.mark.parametrize("name", CASES)
def test_no_number_is_read(tmp_path: Path, name: str) -> None:
    _, tensors, block = CASES[name]
    source = Source(tmp_path / "m", tensors, block, "bfloat16")
    arrays: Any = mx.load(str(source.path))
    with source.path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    os.truncate(source.path, 8 + length)
    array = source.derived.array({part: arrays[part] for part in source.derived.takes})
    assert tuple(array.shape) == source.derived.shape
    with pytest.raises(RuntimeError, match="read"):
        mx.eval(array)


@pytest.mark.parametrize("name", WAYS)
def test_a_source_in_integers_that_arrives_becomes_the_same(tmp_path: Path, name: str) -> None:
    write, block, how = WAYS[name]
    source, _ = packed(make_model(tmp_path / "tiny"), tmp_path, write, block, **how)
    dealt(source, read_tensors(source / "model.safetensors"), 4)
    infos = [info for path in sorted(source.glob("*.safetensors")) for info in read_header(path)]
    config = json.loads((source / "config.json").read_text())
    packing = packing_of(config, {}, infos, "bfloat16")
    del config["quantization_config"]  # as the conversion lays it out, so that mlx-lm does not read it itself
    (source / "config.json").write_text(json.dumps(config))
    (source / PACKED_FILE).write_text(json.dumps(to_json(packing)))
    orders = [ORDERS[0], ORDERS[-1]]
    expected = ordinary(source, tmp_path / "ordinary", orders)
    assert by_stream(Parent(source, tmp_path / "work"), tmp_path / "streamed", orders) == expected
    assert digests(tmp_path / "streamed") == digests(tmp_path / "ordinary")
