"""No evaluation is long: what one reads is bounded, whatever the size of a tensor, and the bytes are the same."""

from __future__ import annotations

import gc
import json
import re
import sys
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- its evaluations are counted
import pytest
from mlx.utils import tree_flatten, tree_map  # noqa: TID251

from families import FAMILIES
from mlx_publish.engine import convert as converting
from mlx_publish.engine import graph, rows, tensor_files
from mlx_publish.engine.making import references
from mlx_publish.engine.parameters import Parameters, in_memory
from mlx_publish.engine.source_model import load_source
from mlx_publish.errors import Refused
from mlx_publish.evidence.conversion import VariantOrder
from mlx_publish.evidence.digests import sha256_of
from mlx_publish.model.normalise import normalise_config
from mlx_publish.model.weights import read_header
from models import ARCHITECTURES, make_model

LIMIT = 20_000
"""Bytes, in place of 256 MB; an embedding of these models has 40 kB, a row of an expert up to 16."""
COMPUTED = {"deepseek_v3", "lfm2", "qwen3_5"}
"""Architectures of which some parameters are made of tensors, and not read as they lie."""
ORDERS = [
    VariantOrder("", "4bit", True, 4, 32, "affine", None, None),
    VariantOrder("", "bf16", False, None, None, None, None, "bfloat16"),
]


class AtOnce:
    """Does work where it is handed over, so that what an evaluation reads can be told from what a thread reads."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Refused as error:
            future.set_exception(error)
        return future


def read_so_far() -> int:
    """Bytes that this process has read, from disk or from its cache."""
    match = re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text(encoding="ascii"))
    assert match
    return int(match[1])


def evaluations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count from now on what each evaluation of MLX reads, in bytes."""
    read: list[int] = []

    def counted(evaluate: Callable[..., None]) -> Callable[..., None]:
        def evaluating(*arrays: Any) -> None:
            before = read_so_far()
            evaluate(*arrays)
            read.append(read_so_far() - before)

        return evaluating

    for name in ("eval", "async_eval"):
        monkeypatch.setattr(mx, name, counted(getattr(mx, name)))
    return read


def source_of(folder: Path, arch: str, layers: int | None = None) -> Path:
    hybrid = arch in {"lfm2", "qwen3_5"}
    source = make_model(folder, arch, layers=layers or (4 if hybrid else 2), tie=arch != "deepseek_v3")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(normalise_config(config)[0]))
    return source


def convert(source: Path, to: Path) -> dict[str, str]:
    """Convert both variants and return the digests of their weights."""
    orders = [VariantOrder(**{**vars(order), "folder": str(to / order.label)}) for order in ORDERS]
    config = json.loads((source / "config.json").read_text())
    converting._convert(source, config, orders, lambda _: None, keep=False)
    return {str(path.relative_to(to)): sha256_of(path) for path in sorted(to.rglob("model*"))}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much a process has read")
@pytest.mark.parametrize("arch", [*ARCHITECTURES, *(arch for arch in FAMILIES if arch not in ARCHITECTURES)])
def test_no_evaluation_reads_more_than_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arch: str) -> None:
    source = source_of(tmp_path / "m", arch)
    expected = convert(source, tmp_path / "whole")
    monkeypatch.setattr(tensor_files, "UNREAD", LIMIT)
    monkeypatch.setattr(rows, "PIECE", LIMIT)
    monkeypatch.setattr(converting, "_workers", AtOnce)
    read = evaluations(monkeypatch)
    assert convert(source, tmp_path / "in pieces") == expected
    assert max(read, default=0) <= LIMIT
    assert read or arch not in COMPUTED
    largest = max(tensor.nbytes for path in source.glob("*.safetensors") for tensor in read_header(path))
    assert largest > LIMIT


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much a process has read")
@pytest.mark.parametrize("arch", ["llama", "qwen3_moe", "deepseek_v3", "qwen3_5"])
def test_a_source_that_is_read_whole_is_read_in_bounded_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arch: str
) -> None:
    source = source_of(tmp_path / "m", arch)
    expected = dict(tree_flatten(load_source(source).model.parameters()))
    mx.eval(expected)
    monkeypatch.setattr(tensor_files, "UNREAD", LIMIT)
    read = evaluations(monkeypatch)
    model = in_memory(load_source(source))
    found = dict(tree_flatten(model.parameters()))
    mx.eval(found)
    assert max(read, default=0) <= LIMIT
    assert {path: array.dtype for path, array in found.items()} == {p: array.dtype for p, array in expected.items()}
    assert all(mx.array_equal(array, expected[path]) for path, array in found.items())


def test_an_experts_stack_is_read_where_it_lies_and_a_fused_one_is_computed(tmp_path: Path) -> None:
    stacked = Parameters(load_source(source_of(tmp_path / "m", "qwen3_moe")))
    experts = [path for path in stacked.paths if "switch_mlp" in path]
    assert experts
    assert all(isinstance(stacked.rows(path), rows.StoredRows) for path in experts)
    computed = Parameters(load_source(source_of(tmp_path / "n", "deepseek_v3")))
    kinds = {path: type(computed.rows(path)) for path in computed.paths}
    assert {kinds[path] for path in kinds if "embed_q" in path} == {rows.ComputedRows}
    assert {kinds[path] for path in kinds if "switch_mlp" in path} == {rows.StoredRows}


@pytest.mark.parametrize("arch", ["llama", "qwen3_moe", "deepseek_v3"])
def test_a_model_of_more_tensors_than_mlx_takes_names_is_known_as_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arch: str
) -> None:
    source = source_of(tmp_path / "m", arch)
    expected = convert(source, tmp_path / "at once")
    monkeypatch.setattr(graph, "_MOST", 12)
    loaded = load_source(source)
    parameters = Parameters(loaded)
    stored = {path for path in parameters.paths if isinstance(parameters.rows(path), rows.StoredRows)}
    assert {path for path in parameters.paths if "switch_mlp" in path or "q_proj" in path} <= stored
    order = VariantOrder(str(tmp_path / "o"), "v", True, 4, 64, "affine", None, None)
    again = load_source(source)
    output = converting._output(again, order, Parameters(again))
    assert output.whole == {}
    assert convert(source, tmp_path / "in parts") == expected


def test_two_thousand_tensors_are_converted(tmp_path: Path) -> None:
    source = source_of(tmp_path / "m", "llama", layers=240)
    made = convert(source, tmp_path / "o")
    assert {path.partition("/")[0] for path in made} == {"4bit", "bf16"}


@pytest.mark.parametrize(
    ("mode", "bits", "group_size"), [("affine", 4, 64), ("mxfp4", 4, 32), ("mxfp8", 8, 32), ("nvfp4", 4, 16)]
)
@pytest.mark.parametrize("dtype", [None, "float16"])
def test_what_mlx_does_to_a_weight_is_known_in_every_mode(
    tmp_path: Path, mode: str, bits: int, group_size: int, dtype: str | None
) -> None:
    source = load_source(source_of(tmp_path / "m", "qwen3_moe"))
    order = VariantOrder(str(tmp_path / "o"), "v", True, bits, group_size, mode, None, dtype)
    output = converting._output(source, order, Parameters(source))
    assert output.whole == {}
    packed = [way.packing for way in output.ways.values() if way.packing]
    assert (group_size, bits, mode) in packed  # a router has bits of its own


def test_a_weight_that_is_changed_before_it_is_packed_is_left_to_its_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantize = mx.quantize
    source = load_source(source_of(tmp_path / "m", "llama"))
    parameters = Parameters(source)
    order = VariantOrder(str(tmp_path / "o"), "v", True, 4, 64, "affine", None, None)

    def doubled(weight: mx.array, *arguments: Any, **options: Any) -> Any:
        return quantize(weight * 2, *arguments, **options)

    monkeypatch.setattr(converting, "references", references_with(quantize))
    monkeypatch.setattr(mx, "quantize", doubled)
    output = converting._output(source, order, parameters)
    assert not any(way.packing for way in output.ways.values())
    assert output.whole


def references_with(quantize: Any) -> Any:
    """`references` by MLX's own `quantize`, whatever stands in its place now."""

    def made(*arguments: Any) -> Any:
        with pytest.MonkeyPatch.context() as own:
            own.setattr(mx, "quantize", quantize)
            return references(*arguments)

    return made


def test_a_source_that_becomes_shorter_while_it_is_read_is_refused(tmp_path: Path) -> None:
    source = source_of(tmp_path / "m", "llama")
    files = tensor_files.TensorFiles(source)
    tensor = files.stored["model.embed_tokens.weight"]
    with tensor.path.open("r+b") as file:
        file.truncate(tensor.offset + 100)
    with pytest.raises(Refused, match="the file became shorter while it was read"):
        files.read_into(tensor.path, tensor.offset, memoryview(bytearray(tensor.info.nbytes)))


def test_what_a_parameter_was_computed_of_is_let_go_with_it(tmp_path: Path) -> None:
    source = load_source(source_of(tmp_path / "m", "deepseek_v3"))
    parameters = Parameters(source)
    source.release()
    source.model.update(tree_map(lambda _: mx.array(0), source.model.parameters()))
    computed = [path for path in parameters.paths if isinstance(parameters.rows(path), rows.ComputedRows)]
    held = {path: weakref.ref(parameters.arrays[path]) for path in computed}
    leaves = [weakref.ref(array) for name, array in parameters._sources.items() if "kv_b_proj" in name]
    assert computed
    assert leaves
    parameters.forget(parameters.paths)
    gc.collect()
    assert not [path for path, array in held.items() if array() is not None]
    assert not [array for array in leaves if array() is not None]
