"""Multi-token heads for tiny models: whole ones, and headers of the families that have them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_publish.model.weights import TensorInfo
from models import make_model
from tensor_file import bfloat16, float32, read_tensors, write_tensors

Shapes = dict[str, tuple[int, ...]]
LAST = "model.language_model.layers.1."
HIDDEN = 64


def with_heads(folder: Path, *, config: Mapping[str, object] | None = None) -> Path:
    """Make a tiny Qwen 3.5 whose next token follows mostly from the last one, so that its head can tell it."""
    make_model(folder, "qwen3_5", tie=False)
    path = folder / "model.safetensors"
    tensors = read_tensors(path)
    rng = np.random.default_rng(5)
    for name in list(tensors):
        values = float32(tensors[name])
        if name.endswith(("o_proj.weight", "out_proj.weight", "down_proj.weight")):
            tensors[name] = bfloat16(values * np.float32(0.02))
        if name.startswith(LAST):
            tensors[f"mtp.layers.0.{name[len(LAST) :]}"] = tensors[name]
    fused = np.concatenate([np.eye(HIDDEN), 0.02 * rng.standard_normal((HIDDEN, HIDDEN))], axis=1)
    tensors["mtp.fc.weight"] = bfloat16(fused.astype(np.float32))
    for name in ("norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden"):
        tensors[f"mtp.{name}.weight"] = bfloat16(0.05 * rng.standard_normal(HIDDEN).astype(np.float32))
    write_tensors(path, tensors)
    change_config(folder, {"mtp_num_hidden_layers": 1, **(config or {})})
    return folder


def change_config(folder: Path, changes: Mapping[str, object]) -> None:
    """Set keys of the text part of config.json."""
    path = folder / "config.json"
    data: dict[str, Any] = json.loads(path.read_text())
    data.get("text_config", data).update(changes)
    path.write_text(json.dumps(data, indent=2))


def change_heads(folder: Path, **changes: NDArray[Any] | None) -> None:
    """Exchange tensors of the heads, named without `mtp.` and with `__` for dots; None takes one out."""
    path = folder / "model.safetensors"
    tensors = read_tensors(path)
    for name, values in changes.items():
        full = f"mtp.{name.replace('__', '.')}"
        if values is None:
            del tensors[full]
        else:
            tensors[full] = values
    write_tensors(path, tensors)


def infos(shapes: Shapes, dtype: str = "BF16") -> list[TensorInfo]:
    """Return headers of tensors of these shapes."""
    width = 4 if dtype == "F32" else 2
    return [TensorInfo(name, dtype, shape, int(np.prod(shape)) * width) for name, shape in shapes.items()]


def experts(prefix: str, names: tuple[str, ...], count: int = 4) -> Shapes:
    """Return the experts of a layer, one tensor for each."""
    return {f"{prefix}.experts.{n}.{name}.weight": (HIDDEN, HIDDEN) for n in range(count) for name in names}


def qwen_moe() -> Shapes:
    """Return names and shapes of a Qwen 3.5 with experts, of one layer and one head."""
    layer: Shapes = {
        "input_layernorm.weight": (HIDDEN,),
        "post_attention_layernorm.weight": (HIDDEN,),
        "self_attn.q_proj.weight": (256, HIDDEN),
        "self_attn.k_proj.weight": (64, HIDDEN),
        "self_attn.v_proj.weight": (64, HIDDEN),
        "self_attn.o_proj.weight": (HIDDEN, 128),
        "self_attn.q_norm.weight": (32,),
        "self_attn.k_norm.weight": (32,),
        "mlp.gate.weight": (4, HIDDEN),
        "mlp.shared_expert_gate.weight": (1, HIDDEN),
        **{f"mlp.shared_expert.{name}.weight": (HIDDEN, HIDDEN) for name in ("gate_proj", "up_proj", "down_proj")},
    }
    fused: Shapes = {
        "mlp.experts.gate_up_proj": (4, 2 * HIDDEN, HIDDEN),
        "mlp.experts.down_proj": (4, HIDDEN, HIDDEN),
    }
    each = experts("mlp", ("gate_proj", "up_proj", "down_proj"))
    joins: Shapes = {"mtp.fc.weight": (HIDDEN, 2 * HIDDEN)}
    joins |= {f"mtp.{name}.weight": (HIDDEN,) for name in ("norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden")}
    return {
        **{f"model.layers.0.{name}": shape for name, shape in (layer | fused).items()},
        **{f"mtp.layers.0.{name}": shape for name, shape in (layer | each).items()},
        **joins,
    }


def nemotron() -> Shapes:
    """Return names and shapes of a Nemotron-H with a layer of attention, one of experts, and a head of both."""
    attention: Shapes = {"norm.weight": (HIDDEN,), "mixer.q_proj.weight": (128, HIDDEN)}
    attention |= {f"mixer.{name}.weight": (HIDDEN, HIDDEN) for name in ("k_proj", "v_proj")}
    attention |= {"mixer.o_proj.weight": (HIDDEN, 128)}
    moe: Shapes = {
        "norm.weight": (HIDDEN,),
        "mixer.gate.weight": (4, HIDDEN),
        "mixer.gate.e_score_correction_bias": (4,),
        **experts("mixer", ("up_proj", "down_proj")),
        **{f"mixer.shared_experts.{name}.weight": (HIDDEN, HIDDEN) for name in ("up_proj", "down_proj")},
    }
    joins: Shapes = {
        "mtp.layers.0.eh_proj.weight": (HIDDEN, 2 * HIDDEN),
        "mtp.layers.0.enorm.weight": (HIDDEN,),
        "mtp.layers.0.hnorm.weight": (HIDDEN,),
        "mtp.layers.1.final_layernorm.weight": (HIDDEN,),
    }
    layers = {0: attention, 1: moe}
    return {
        **{f"backbone.layers.{n}.{name}": shape for n, layer in layers.items() for name, shape in layer.items()},
        **{f"mtp.layers.{n}.{name}": shape for n, layer in layers.items() for name, shape in layer.items()},
        **joins,
    }


NEMOTRON = {"num_hidden_layers": 2, "num_nextn_predict_layers": 1, "mtp_hybrid_override_pattern": "*E"}


def glm() -> Shapes:
    """Return names and shapes of a GLM 5 of one layer and one behind it."""
    attention: Shapes = {
        "q_a_proj.weight": (32, HIDDEN),
        "q_a_layernorm.weight": (32,),
        "q_b_proj.weight": (128, 32),
        "kv_a_proj_with_mqa.weight": (48, HIDDEN),
        "kv_a_layernorm.weight": (32,),
        "kv_b_proj.weight": (128, 32),
        "o_proj.weight": (HIDDEN, 64),
        "indexer.wk.weight": (32, HIDDEN),
        "indexer.wq_b.weight": (64, 32),
        "indexer.k_norm.weight": (32,),
        "indexer.k_norm.bias": (32,),
        "indexer.weights_proj.weight": (2, HIDDEN),
    }
    layer: Shapes = {
        "input_layernorm.weight": (HIDDEN,),
        "post_attention_layernorm.weight": (HIDDEN,),
        **{f"self_attn.{name}": shape for name, shape in attention.items()},
        "mlp.gate.weight": (4, HIDDEN),
        "mlp.gate.e_score_correction_bias": (4,),
        **experts("mlp", ("gate_proj", "up_proj", "down_proj")),
    }
    joins: Shapes = {"eh_proj.weight": (HIDDEN, 2 * HIDDEN)}
    joins |= {f"{name}.weight": (HIDDEN,) for name in ("enorm", "hnorm", "shared_head.norm")}
    return {
        **{f"model.layers.0.{name}": shape for name, shape in layer.items()},
        **{f"model.layers.1.{name}": shape for name, shape in (layer | joins).items()},
    }


GLM = {
    "num_hidden_layers": 1,
    "num_nextn_predict_layers": 1,
    "num_attention_heads": 4,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
}


def random_tensors(shapes: Shapes) -> dict[str, NDArray[Any]]:
    """Return numbers for headers, as bits of bfloat16."""
    rng = np.random.default_rng(2)
    return {name: bfloat16(0.3 * rng.standard_normal(shape).astype(np.float32)) for name, shape in shapes.items()}
