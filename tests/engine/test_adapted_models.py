"""A fused model computes what base plus adapter compute: logits within 1e-5 in float32.

The adapters are applied unfused, by mlx-lm's own layers or as its layers do, to what mlx-lm makes of the base.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx  # noqa: TID251 -- weights are fused by it
import numpy as np
import pytest
from mlx import nn  # noqa: TID251
from mlx.utils import tree_flatten, tree_unflatten  # noqa: TID251
from mlx_lm.models import gpt2, qwen3_moe  # noqa: TID251
from mlx_lm.tuner.lora import LoRAEmbedding, LoRALinear, LoRASwitchLinear  # noqa: TID251
from mlx_lm.tuner.utils import linear_to_lora_layers  # noqa: TID251
from numpy.typing import NDArray

from adapted_links import links_of
from adapters import PREFIX, Tensors, pair, put_mlx, put_peft, random
from mlx_publish.engine.parameters import Parameters
from mlx_publish.engine.small_floats import table
from mlx_publish.engine.source_model import SourceModel, load_source
from models import make_model
from tensor_file import bfloat16, float32, read_tensors, write_tensors

IDS = np.random.default_rng(7).integers(3, 200, 48)
NEAR = 1e-5
EXPERTS, WIDTH = 4, 48


@pytest.fixture(autouse=True)
def _on_the_cpu() -> None:
    mx.set_default_device(mx.cpu)


def logits(model: nn.Module) -> NDArray[np.float32]:
    return np.array(model(mx.array(IDS)[None])[0].astype(mx.float32))


def loaded(base: Path, adapter: Path | None, work: Path) -> SourceModel:
    return load_source(links_of(base, adapter, work))


def applied(model: nn.Module, layers: Mapping[str, nn.Module], tensors: Mapping[str, Any]) -> NDArray[np.float32]:
    """Return logits with some modules replaced by unfused ones, whose matrices are `tensors`."""
    model.update_modules(tree_unflatten(list(layers.items())))
    model.load_weights([(name, mx.array(value)) for name, value in tensors.items()], strict=False)
    return logits(model)


def module_of(model: nn.Module, path: str) -> Any:
    return dict(model.named_modules())[path]


def test_lora_of_peft_on_matrices_and_an_embedding(tmp_path: Path) -> None:
    base = make_model(tmp_path / "Tiny", dtype="float32", tie=False)
    q, down, embed = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj", "model.embed_tokens"
    rows, columns = read_tensors(base / "model.safetensors")[f"{down}.weight"].shape
    tensors = pair(q, 64, 64) | pair(down, rows, columns, seed=3)
    vocabulary = read_tensors(base / "model.safetensors")[f"{embed}.weight"].shape[0]
    a, b = random(4, vocabulary), random(64, 4)
    tensors |= {f"{PREFIX}{embed}.lora_embedding_A": a, f"{PREFIX}{embed}.lora_embedding_B": b}
    model = loaded(base, None, tmp_path / "plain").model
    layers = {path: LoRALinear.from_base(module_of(model, path), r=4, scale=2.0) for path in (q, down)}
    layers[embed] = LoRAEmbedding.from_base(module_of(model, embed), r=4, scale=2.0)
    own = {f"{path}.lora_{x.lower()}": tensors[f"{PREFIX}{path}.lora_{x}.weight"].T for path in (q, down) for x in "AB"}
    expected = applied(model, layers, {**own, f"{embed}.lora_a": a.T, f"{embed}.lora_b": b.T})
    got = loaded(base, put_peft(tmp_path / "adapter", tensors), tmp_path / "fused").model
    assert np.abs(logits(got) - expected).max() < NEAR


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_what_mlx_lm_trains_on_a_llama(tmp_path: Path, kind: str) -> None:
    base = make_model(tmp_path / "Tiny", dtype="float32")
    model = loaded(base, None, tmp_path / "plain").model
    assert np.abs(logits(fused_by(base, tmp_path, model, kind)) - logits(model)).max() < NEAR


def test_what_mlx_lm_trains_on_a_tied_embedding_changes_the_head_too(tmp_path: Path) -> None:
    base = make_model(tmp_path / "Tiny", dtype="float32", tie=True)
    model = loaded(base, None, tmp_path / "plain").model
    assert np.abs(logits(fused_by(base, tmp_path, model, "lora", ["model.embed_tokens"])) - logits(model)).max() < NEAR


def fused_by(base: Path, work: Path, model: nn.Module, kind: str, keys: list[str] | None = None) -> nn.Module:
    """Let mlx-lm put its layers into a model, with random numbers, and return the fused model of the same numbers."""
    model.freeze()
    settings = {"rank": 4, "scale": 2.0, "dropout": 0.0, **({"keys": keys} if keys else {})}
    linear_to_lora_layers(model, 2, settings, use_dora=kind == "dora")
    own: Tensors = {}
    for number, (name, value) in enumerate(tree_flatten(model.trainable_parameters())):
        noise = random(*value.shape, seed=number)
        own[name] = np.array(value) * (1 + noise) if name.endswith(".m") else noise
    model.load_weights([(name, mx.array(value)) for name, value in own.items()], strict=False)
    model.eval()
    return loaded(base, put_mlx(work / "adapter", own, kind), work / "fused").model


def make_moe(folder: Path) -> Path:
    """Make a Qwen3 MoE as it lies on the Hub: every expert for itself."""
    config: dict[str, Any] = {
        "model_type": "qwen3_moe",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "rms_norm_eps": 1e-6,
        "vocab_size": 256,
        "num_experts": EXPERTS,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": WIDTH,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "rope_theta": 10000.0,
        "tie_word_embeddings": False,
        "max_position_embeddings": 512,
        "norm_topk_prob": True,
    }
    model = qwen3_moe.Model(qwen3_moe.ModelArgs.from_dict(config))
    tensors: Tensors = {}
    for number, (name, value) in enumerate(tree_flatten(model.parameters())):
        values = random(*value.shape, seed=number, by=0.2) + (1 if name.endswith("norm.weight") else 0)
        if "switch_mlp" in name:
            for expert in range(EXPERTS):
                tensors[name.replace("switch_mlp", f"experts.{expert}")] = values[expert]
        else:
            tensors[name] = values
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    write_tensors(folder / "model.safetensors", tensors)
    return folder


def test_experts_that_are_adapted_as_one_parameter_and_stored_one_by_one(tmp_path: Path) -> None:
    base, rank = make_moe(tmp_path / "Moe"), 3
    tensors: Tensors = {}
    model = loaded(base, None, tmp_path / "plain").model
    layers: dict[str, nn.Module] = {}
    own: dict[str, Any] = {}
    for layer in range(2):
        module = f"model.layers.{layer}.mlp"
        # PEFT wraps gate_up_proj first, and down_proj around it.
        of = {"base_layer.": ("gate_up_proj", 2 * WIDTH, 32), "": ("down_proj", 32, WIDTH)}
        for wrap, (part, rows, columns) in of.items():
            a, b = random(rank * EXPERTS, columns, seed=layer), random(rows, rank * EXPERTS, seed=layer + 9)
            tensors[f"{PREFIX}{module}.experts.{wrap}lora_A.weight"] = a
            tensors[f"{PREFIX}{module}.experts.{wrap}lora_B.weight"] = b
            left = b.reshape(rows, rank, EXPERTS).transpose(2, 0, 1)
            right = a.reshape(EXPERTS, rank, columns)
            names = ("gate_proj", "up_proj") if part == "gate_up_proj" else ("down_proj",)
            for number, name in enumerate(names):
                path = f"{module}.switch_mlp.{name}"
                layers[path] = LoRASwitchLinear.from_base(module_of(model, path), r=rank, scale=2.0)
                height = rows // len(names)
                own |= {f"{path}.lora_a": right, f"{path}.lora_b": left[:, number * height : (number + 1) * height]}
    expected = applied(model, layers, own)
    targets = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
    adapter = put_peft(tmp_path / "adapter", tensors, r=rank, lora_alpha=6, target_parameters=targets)
    assert np.abs(logits(loaded(base, adapter, tmp_path / "fused").model) - expected).max() < NEAR


def test_what_mlx_lm_trains_on_a_mixture_of_experts(tmp_path: Path) -> None:
    base = make_moe(tmp_path / "Moe")
    model = loaded(base, None, tmp_path / "plain").model
    got = fused_by(base, tmp_path, model, "lora")
    assert np.abs(logits(got) - logits(model)).max() < NEAR


def test_matrices_that_are_stored_as_in_by_out(tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "model_type": "gpt2",
        "n_ctx": 128,
        "n_embd": 32,
        "n_head": 4,
        "n_layer": 2,
        "n_positions": 128,
        "layer_norm_epsilon": 1e-5,
        "vocab_size": 256,
    }
    args = gpt2.ModelArgs.from_dict(config)
    shapes = {name: value.shape for name, value in tree_flatten(gpt2.Model(args).parameters())}
    stored: Tensors = {}
    for number, (name, shape) in enumerate(shapes.items()):
        values = random(*shape, seed=number, by=0.2) + (1 if "ln_" in name and name.endswith("weight") else 0)
        turned = values.ndim == 2 and ".c_" in name
        stored[name.removeprefix("model.")] = np.ascontiguousarray(values.T) if turned else values
    base = tmp_path / "Gpt"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(config))
    write_tensors(base / "model.safetensors", stored)
    model = loaded(base, None, tmp_path / "plain").model
    tensors, layers, own = dict[str, Any](), dict[str, nn.Module](), dict[str, Any]()
    for name, out in (("attn.c_attn", 96), ("attn.c_proj", 32)):  # the second one is square: only its type tells
        path = f"model.h.0.{name}"
        both = pair(f"transformer.h.0.{name}", out, 32)
        tensors |= both
        layers[path] = LoRALinear.from_base(module_of(model, path), r=4, scale=2.0)
        a, b = both.values()
        own |= {f"{path}.lora_a": a.T, f"{path}.lora_b": b.T}
    expected = applied(model, layers, own)
    adapter = put_peft(tmp_path / "adapter", tensors, fan_in_fan_out=True)
    assert np.abs(logits(loaded(base, adapter, tmp_path / "fused").model) - expected).max() < NEAR


@pytest.mark.parametrize("trained", ["embed_tokens", "lm_head"])
def test_a_tied_model_of_which_one_use_is_adapted_gets_a_head_of_its_own(tmp_path: Path, trained: str) -> None:
    base = make_model(tmp_path / "Tiny", dtype="float32", tie=True)
    whole = {"embed_tokens": "model.embed_tokens.weight", "lm_head": "lm_head.weight"}[trained]
    old = read_tensors(base / "model.safetensors")["model.embed_tokens.weight"]
    new = old + random(*old.shape)
    got = loaded(base, put_peft(tmp_path / "adapter", {f"{PREFIX}{whole}": new}), tmp_path / "fused")
    assert not got.config["tie_word_embeddings"]
    parameters = dict(tree_flatten(got.model.parameters()))
    embedding, head = parameters["model.embed_tokens.weight"], parameters["lm_head.weight"]
    np.testing.assert_array_equal(np.array(embedding), new if trained == "embed_tokens" else old)
    np.testing.assert_array_equal(np.array(head), new if trained == "lm_head" else old)


def test_a_tied_model_of_which_both_uses_are_trained_alike_stays_tied(tmp_path: Path) -> None:
    base = make_model(tmp_path / "Tiny", dtype="float32", tie=True)
    new = random(*read_tensors(base / "model.safetensors")["model.embed_tokens.weight"].shape)
    tensors: Tensors = {f"{PREFIX}model.embed_tokens.weight": new, f"{PREFIX}lm_head.weight": new}
    got = loaded(base, put_peft(tmp_path / "adapter", tensors), tmp_path / "fused")
    assert got.config["tie_word_embeddings"]
    np.testing.assert_array_equal(
        np.array(dict(tree_flatten(got.model.parameters()))["model.embed_tokens.weight"]), new
    )


def test_a_vocabulary_that_grew_in_training_is_that_of_the_fused_model(tmp_path: Path) -> None:
    base = make_model(tmp_path / "Tiny", dtype="float32", tie=False)
    rows = read_tensors(base / "model.safetensors")["lm_head.weight"].shape[0] + 8
    tensors: Tensors = {f"{PREFIX}{name}.weight": random(rows, 64) for name in ("model.embed_tokens", "lm_head")}
    got = loaded(base, put_peft(tmp_path / "adapter", tensors), tmp_path / "fused")
    assert got.config["vocab_size"] == rows
    assert logits(got.model).shape == (len(IDS), rows)


def test_an_adapter_over_a_base_in_fp8_is_added_to_what_the_base_is_read_as(tmp_path: Path) -> None:
    base = make_model(tmp_path / "Tiny")
    name, tensors = "model.layers.0.self_attn.q_proj.weight", read_tensors(base / "model.safetensors")
    codes, scale = np.random.default_rng(1).integers(0, 120, (64, 64)).astype(np.uint8), np.float32(0.01)
    write_with_fp8(base / "model.safetensors", tensors, name, codes, scale)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "fp8"}}))
    both = pair("model.layers.0.self_attn.q_proj", 64, 64)
    source = loaded(base, put_peft(tmp_path / "adapter", both), tmp_path / "fused")
    plain = float32(bfloat16(table("e4m3")[codes] * scale))
    a, b = both.values()
    right = float32(bfloat16((plain + 2.0 * (b.astype(np.float64) @ a)).astype(np.float32)))
    lazily = np.array(dict(tree_flatten(source.model.parameters()))[name].astype(mx.float32))
    np.testing.assert_array_equal(lazily, right)
    np.testing.assert_array_equal(np.array(Parameters(source).array(name).astype(mx.float32)), right)


def write_with_fp8(path: Path, tensors: Tensors, name: str, codes: NDArray[np.uint8], scale: np.float32) -> None:
    """Write tensors with one in bytes and a scale for it, which the writer of other tests does not know."""
    data = {**tensors, name: codes, f"{name}_scale_inv": np.array([scale])}
    header: dict[str, Any] = {}
    end = 0
    kinds = {"uint16": "BF16", "uint8": "F8_E4M3", "float32": "F32"}
    for key in sorted(data):
        start, end = end, end + data[key].nbytes
        header[key] = {
            "dtype": kinds[data[key].dtype.name],
            "shape": list(data[key].shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data[key].tobytes() for key in sorted(data)))
