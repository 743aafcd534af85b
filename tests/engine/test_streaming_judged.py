"""What is judged of a source is judged in the same way when it arrives shard by shard."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- the arrays of a stub
import numpy as np
import pytest
from numpy.typing import NDArray

from mlx_publish.engine import casting
from mlx_publish.engine import convert as converting
from mlx_publish.engine.convert import convert
from mlx_publish.engine.making import references
from mlx_publish.engine.methods.plan import quantizable
from mlx_publish.engine.source_model import load_source
from mlx_publish.engine.streaming_arrivals import ArrivingFiles, HeadersAlone
from mlx_publish.errors import Bug, Refused
from mlx_publish.evidence.conversion import VariantOrder
from mlx_publish.evidence.records import to_json
from mlx_publish.recipes.plan import PlannedModule
from mlx_publish.recipes.plan_text import write_plan
from plans import plan_of_modules
from streamed import ORDERS, Parent, asked, by_stream, dealt, digests, made, ordered, ordinary
from tensor_file import bfloat16, read_tensors

Tensors = dict[str, NDArray[Any]]
FLOAT16 = VariantOrder("", "f16", True, 4, 64, "affine", None, "float16")


def changed(folder: Path, arch: str, change: Callable[[Tensors], object], shards: int = 6, **options: Any) -> Path:
    """Make a source whose tensors are changed, and scattered over shards."""
    source = made(folder, arch, **options)
    tensors: Tensors = {}
    for path in source.glob("*.safetensors"):
        tensors |= {name: array.copy() for name, array in read_tensors(path).items()}
    change(tensors)
    return dealt(source, tensors, shards)


def same(tmp_path: Path, source: Path, orders: list[VariantOrder]) -> Any:
    """Convert in both ways, compare, and return what became of it."""
    expected = ordinary(source, tmp_path / "ordinary", orders)
    assert by_stream(Parent(source, tmp_path / "work"), tmp_path / "streamed", orders) == expected
    whole = [order.label for order in orders if not expected.variants[order.label].overflows]
    for label in whole:
        assert digests(tmp_path / "streamed" / label) == digests(tmp_path / "ordinary" / label)
    return expected


def with_biases(tensors: Tensors) -> None:
    names = [name for name in tensors if name.endswith("e_score_correction_bias")]
    assert names
    for name in names:
        tensors[name] = np.linspace(6.81, 6.87, tensors[name].size, dtype=np.float32)


def test_router_biases_in_float32(tmp_path: Path) -> None:
    source = changed(tmp_path / "source", "dots1", with_biases)
    routing = same(tmp_path, source, ORDERS[:2]).variants["4bit"].routing
    assert routing.kept or routing.merged


def test_router_biases_that_are_rounded_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(casting, "_type_of_logits", lambda _: None)
    source = changed(tmp_path / "source", "dots1", with_biases)
    expected = same(tmp_path, source, ORDERS[:2])
    assert all(variant.routing.merged for variant in expected.variants.values())


def test_norms_of_another_convention(tmp_path: Path) -> None:
    def twice(tensors: Tensors) -> None:
        for name, array in tensors.items():
            if name.endswith("norm.weight") and "linear_attn" not in name:
                tensors[name] = bfloat16(np.full(array.shape, 1.02, np.float32))

    source = changed(tmp_path / "source", "qwen3_5", twice)
    assert same(tmp_path, source, ORDERS[:1]).norms.twice


@pytest.mark.parametrize("kind", ["the embedding", "in another type", "with another zero", "another"])
def test_a_head_beside_tied_embeddings(tmp_path: Path, kind: str) -> None:
    def add(tensors: Tensors) -> None:
        embedding = tensors["model.embed_tokens.weight"]
        embedding[0, 0] = 0
        head = embedding.copy()
        if kind == "in another type":
            head = (head.astype(np.uint32) << 16).view(np.float32)
        elif kind == "with another zero":
            head[0, 0] = 0x8000
        elif kind == "another":
            head[3, 3] ^= 1
        tensors["lm_head.weight"] = head

    source = changed(tmp_path / "source", "llama", add)
    accounted = same(tmp_path, source, ORDERS[:1]).tensors
    assert accounted.unexplained == (["lm_head.weight"] if kind == "another" else [])


def test_weights_that_are_zero_or_vanish(tmp_path: Path) -> None:
    def zero(tensors: Tensors) -> None:
        for name, array in tensors.items():
            if "layers.1" in name and name.endswith("up_proj.weight") and ".7." not in name:
                array[...] = 0
            if "layers.0" in name and name.endswith("down_proj.weight"):
                tensors[name] = bfloat16(np.full(array.shape, 1e-9, np.float32))

    orders = [replace(FLOAT16, quantize=False), ORDERS[0]]
    source = changed(tmp_path / "moe", "qwen3_moe", zero)
    expected = same(tmp_path / "moe work", source, orders)
    assert expected.variants["f16"].vanished
    assert not expected.dead  # one expert is not
    source = changed(tmp_path / "llama", "llama", zero)
    assert same(tmp_path / "llama work", source, orders).dead


def test_the_first_tensor_that_does_not_fit_is_named(tmp_path: Path) -> None:
    def large(tensors: Tensors) -> None:
        for name, array in tensors.items():
            if name.endswith(("v_proj.weight", "down_proj.weight", "layers.1.input_layernorm.weight")):
                array[-1, ...] = bfloat16(np.full(1, 1e6, np.float32))[0]

    source = changed(tmp_path / "source", "llama", large)
    expected = same(tmp_path, source, [FLOAT16, ORDERS[-1]])
    assert expected.variants["f16"].overflows
    assert not (tmp_path / "streamed" / "f16" / "config.json").exists()


@pytest.mark.parametrize("arch", ["llama", "qwen3_moe", "deepseek_v3"])
def test_a_number_that_is_none_in_the_last_shard_is_refused_by_name(tmp_path: Path, arch: str) -> None:
    source = made(tmp_path / "source", arch, shards=6)
    last = sorted(source.glob("*.safetensors"))[-1]
    name = next(name for name, array in read_tensors(last).items() if array.ndim == 2 and "kv_b" not in name)
    tensors = {name: array for path in source.glob("*.safetensors") for name, array in read_tensors(path).items()}
    with last.open("r+b") as file:
        head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        file.seek(file.tell() + head[name]["data_offsets"][0] + 6)
        file.write(b"\xc0\x7f")
    assert tensors[name].ndim == 2
    parent = Parent(source, tmp_path / "work")
    with pytest.raises(Refused, match=r"contains NaN or infinity") as refused:
        by_stream(parent, tmp_path / "streamed")
    assert name.rpartition(".")[0].rpartition(".")[2] in str(refused.value)
    assert last.name not in parent.done()
    assert not (tmp_path / "streamed").exists()


def test_a_plan_of_a_file_with_scales_by_importance(tmp_path: Path) -> None:
    source = made(tmp_path / "source", "llama")
    modules, importance = {}, {}
    rungs = itertools.cycle(((4, 64), (3, 64), (8, 32), (16, 0), (6, 64)))
    for (path, columns), (bits, group_size) in zip(quantizable(load_source(source).model).items(), rungs, strict=False):
        key = f"in.{columns}"
        fields = {"bits": bits, "group_size": group_size, "input": "" if bits == 16 else key}
        modules[path] = PlannedModule.model_validate({**fields, "kld": 0.01, "kind": "mlp", "weights": columns})
        importance[key] = "".join(itertools.islice(itertools.cycle("0123456789ab"), columns))
    write_plan(tmp_path / "plan.yaml", plan_of_modules(modules, importance))
    plan = VariantOrder(
        "", "p", True, None, None, "affine", None, None, method="plan", plan=str(tmp_path / "plan.yaml")
    )
    same(tmp_path, source, [plan, ORDERS[-1]])


def test_what_is_not_known_by_rows_is_made_as_the_library_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quantize = mx.quantize

    def doubled(weight: mx.array, *arguments: Any, **options: Any) -> Any:
        return quantize(weight * 2, *arguments, **options)

    def of_mlx(*arguments: Any) -> Any:
        with pytest.MonkeyPatch.context() as own:
            own.setattr(mx, "quantize", quantize)
            return references(*arguments)

    source = changed(tmp_path / "source", "qwen3_moe", lambda _: None)
    monkeypatch.setattr(converting, "references", of_mlx)
    monkeypatch.setattr(mx, "quantize", doubled)
    same(tmp_path, source, ORDERS[:2])


@pytest.fixture
def waiting(tmp_path: Path) -> tuple[ArrivingFiles, HeadersAlone, Path]:
    """A source of which nothing has arrived."""
    parent = Parent(made(tmp_path / "source", "qwen3_5"), tmp_path / "work")
    files = ArrivingFiles(parent.links, parent.stream)
    return files, HeadersAlone(files, parent.links, tmp_path / "stub"), parent.links


def test_bytes_that_have_not_arrived_are_read_by_nobody(waiting: tuple[ArrivingFiles, HeadersAlone, Path]) -> None:
    files, _, _ = waiting
    tensor = next(iter(files.stored.values()))
    with pytest.raises(Bug, match="before they had arrived"):
        files.read_into(tensor.path, tensor.offset, memoryview(bytearray(tensor.info.nbytes)))
    files.leave(files.shards[tensor.path])
    with pytest.raises(Bug, match="after they had gone"):
        files.read_into(tensor.path, tensor.offset, memoryview(bytearray(tensor.info.nbytes)))
    with pytest.raises(Bug, match="before they had arrived"):
        files.same_bytes("one", "other")


def test_an_evaluation_of_what_has_not_arrived_fails_and_is_noticed(
    waiting: tuple[ArrivingFiles, HeadersAlone, Path],
) -> None:
    _, stub, folder = waiting
    source = load_source(folder, stub=stub)
    stub.check()
    array = next(array for array in source.arrays.values() if array.ndim == 2)
    with pytest.raises(RuntimeError, match=r"\[read\]"):
        mx.eval(array.astype(mx.float32) + 1)
    # As a rule MLX takes it for computed now, and a second evaluation would not fail; now and then it fails before it
    # has begun, and the array is still what it was.
    if not stub.untouched():
        with pytest.raises(Refused, match="looks at numbers of tensors"):
            stub.check()


@pytest.mark.parametrize("errors", [(), (RuntimeError,)], ids=["as it fails", "hiding that it failed"])
def test_a_class_that_looks_at_numbers_while_it_is_built_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, errors: tuple[type[Exception], ...]
) -> None:
    model = importlib.import_module("mlx_lm.models.qwen3_moe").Model
    sanitize = model.sanitize

    def looks(self: Any, weights: Any) -> Any:
        with contextlib.suppress(*errors):
            mx.eval(weights)
        return sanitize(self, weights)

    monkeypatch.setattr(model, "sanitize", looks)
    parent = Parent(made(tmp_path / "source", "qwen3_moe"), tmp_path / "work")
    try:
        by_stream(parent, tmp_path / "streamed", ORDERS[:1])
    except Refused as refused:
        assert "looks at numbers of tensors" in str(refused)  # noqa: PT017  or nothing is raised
    else:
        # Now and then MLX fails before it has begun: the arrays stay unread then, and what is made of them is right.
        assert errors
        ordinary(parent.whole, tmp_path / "ordinary", ORDERS[:1])
        assert digests(tmp_path / "streamed", ["*"]) == digests(tmp_path / "ordinary", ["*"])


def test_the_job_with_a_stream_gives_what_it_gives_without(tmp_path: Path) -> None:
    source = made(tmp_path / "source", "llama")
    tokenizer = {"folder": str(source), "plain": None, "source": str(source), "rows": None}

    def job(folder: Path, to: Path, **more: Any) -> Any:
        orders = to_json(ordered(to, ORDERS[:2]))
        return convert(str(folder), asked(source), orders, tokenizer, [], None, lambda _: None, **more)

    expected = job(source, tmp_path / "ordinary")
    parent = Parent(source, tmp_path / "work")
    with parent:
        assert job(parent.links, tmp_path / "streamed", stream=parent.job) == expected
    assert digests(tmp_path / "streamed", ["*"]) == digests(tmp_path / "ordinary", ["*"])


def test_a_variant_that_learns_is_refused(tmp_path: Path) -> None:
    source = made(tmp_path / "source", "llama")
    parent = Parent(source, tmp_path / "work")
    order = VariantOrder(str(tmp_path / "o"), "4bit-awq", True, 4, 64, "affine", None, None, method="awq")
    tokenizer = {"folder": str(source), "plain": None, "source": str(source), "rows": None}
    with pytest.raises(Refused, match="learns of the whole source"):
        convert(str(parent.links), {}, to_json([order]), tokenizer, [], None, lambda _: None, stream=parent.job)
