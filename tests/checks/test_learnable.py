"""What a method that learns cannot do is refused by metadata and headers alone: nothing is downloaded for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from headers import LAYERS, Tensors, facts, failures, find, judge
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.converters.mlx_lm import CONVERTER
from mlx_publish.model.learned_size import Computing, Text, learning_memory
from mlx_publish.model.weights import TensorInfo

AWQ = {"awq": frozenset({"llama", "mistral"})}


def asked(method: str, config: Mapping[str, Any] | None = None, tensors: Tensors = LAYERS, **keys: Any) -> SourceFacts:
    variants = [{"method": method, "bits": 4, **keys}]
    made = facts(config=config, tensors=tensors, variants=variants)
    return replace(made, loads=replace(made.loads, limited=AWQ))


def test_the_installed_mlx_lm_tells_which_types_awq_knows() -> None:
    support = CONVERTER.support()
    assert support is not None
    assert {"llama", "mistral", "qwen3", "gemma3_text", "deepseek_v2"} <= support.limited["awq"]
    assert "qwen3_moe" not in support.limited["awq"]
    assert "mistral" in support.types


def test_a_type_that_awq_does_not_know_is_refused_before_anything_else_is_read() -> None:
    source = asked("awq", {"model_type": "qwen3"})
    assert failures(source) == ["method-type"]
    finding = find("method-type", source)
    assert finding.message == "awq in mlx-lm 0.32.2 does not support the model type qwen3; it supports llama, mistral"
    assert finding.remedy == (
        "Use target_bpw, which chooses bits by module and works with every type, or method: dwq or method: gptq."
    )
    assert find("groups-fit", source).status == "skip"


@pytest.mark.parametrize("method", ["awq", "gptq", "dwq"])
def test_a_type_that_a_method_knows_passes(method: str) -> None:
    assert failures(asked(method)) == []
    assert find("method-type", asked(method)).message == f"{method} works with llama"


def test_rounding_passes_whatever_the_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_PUBLISH_MEMORY_BYTES", "1000")
    source = facts(config={"model_type": "qwen3"})
    source = replace(source, loads=replace(source.loads, limited=AWQ))
    assert {id_: judge(source)[id_].status for id_ in ("method-type", "method-groups", "learning-fits")} == {
        "method-type": "pass",
        "method-groups": "pass",
        "learning-fits": "pass",
    }


@pytest.mark.parametrize(("method", "refused"), [("awq", True), ("gptq", True), ("dwq", False)])
def test_one_layer_that_groups_do_not_divide_stops_methods_that_take_all(method: str, refused: bool) -> None:
    large: Tensors = {"model.layers.0.mlp.up_proj.weight": ("BF16", (4096, 64))}
    odd: Tensors = {"model.layers.0.self_attn.k_proj.weight": ("BF16", (8, 72))}
    source = asked(method, tensors={**LAYERS, **large, **odd})
    assert find("groups-fit", source).status == "warn", "a small part"
    assert (failures(source) == ["method-groups"]) is refused
    if refused:
        assert "do not divide model.layers.0.self_attn.k_proj.weight [8, 72]" in find("method-groups", source).message


@pytest.mark.parametrize("method", ["awq", "gptq", "dwq"])
def test_a_source_that_does_not_fit_into_memory_is_refused_with_both_numbers(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLX_PUBLISH_MEMORY_BYTES", str(1 << 30))
    source = asked(method)
    assert failures(source) == ["learning-fits"]
    finding = find("learning-fits", source)
    assert re.match(rf"{method} needs about [1-9]\.\d GB of memory for this source with \d+ samples", finding.message)
    assert finding.message.endswith("and this machine has 805 MB for it")
    assert finding.details["needed_bytes"] > 1 << 30
    monkeypatch.setenv("MLX_PUBLISH_MEMORY_BYTES", str(16 << 30))
    assert failures(source) == []


LLAMA_8B = [
    TensorInfo("model.embed_tokens.weight", "BF16", (128256, 4096), 0),
    TensorInfo("lm_head.weight", "BF16", (128256, 4096), 0),
    *(
        TensorInfo(f"model.layers.{layer}.{name}.weight", "BF16", shape, 0)
        for layer in range(32)
        for name, shape in {
            "self_attn.q_proj": (4096, 4096),
            "self_attn.k_proj": (1024, 4096),
            "self_attn.v_proj": (1024, 4096),
            "self_attn.o_proj": (4096, 4096),
            "mlp.gate_proj": (14336, 4096),
            "mlp.up_proj": (14336, 4096),
            "mlp.down_proj": (4096, 14336),
        }.items()
    ),
]


def needed(method: str, samples: int = 128, length: int = 512, **settings: float) -> float:
    own = {"batch_size": 4, "grid": 20} | settings
    return learning_memory(LLAMA_8B, Text(samples, length), Computing(method, 4.5, 64, 2, own)) / 1e9


def test_the_memory_of_each_method_follows_from_what_it_holds() -> None:
    sums = 32 * (6 * 4096**2 + 14336**2) * 4 / 1e9
    assert needed("gptq") > 16 + sums, "the source and all sums at once"
    assert needed("awq", samples=256) - needed("awq", samples=128) > 128 * 512 * (6 * 4096 + 14336) * 2 / 1e9
    assert needed("dwq", batch_size=8) > needed("dwq", batch_size=4) > 16 + 4.5 / 8 * 8
    assert needed("dwq", samples=128) == needed("dwq", samples=1024), "it reads a batch at a time"


def test_experts_that_are_stored_one_by_one_share_one_sum() -> None:
    each = [TensorInfo(f"model.layers.0.mlp.experts.{n}.up_proj.weight", "BF16", (64, 128), 0) for n in range(8)]
    once = [TensorInfo("model.layers.0.mlp.experts.up_proj.weight", "BF16", (8, 64, 128), 0)]
    computing = Computing("gptq", 4.5, 64, 2, {})
    many, one = (learning_memory(tensors, Text(8, 64), computing) for tensors in (each, once))
    assert abs(many - one) < 1 << 20
