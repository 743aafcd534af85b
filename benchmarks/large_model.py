"""Random models of real shapes with a tiny tokenizer: a llama of 1.1B, one of 8B in shards, and a toy mixture."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from models import make_model
from tensor_file import write_tensors

Tensor = tuple[str, NDArray[np.uint16]]


@dataclass(frozen=True)
class Llama:
    """Sizes of a llama; `keys` are the rows of its key projection."""

    hidden: int
    layers: int
    inner: int
    vocabulary: int
    heads: int
    keys: int
    shards: int = 1


TINY_LLAMA = Llama(2048, 22, 5632, 32000, 32, 256)
LLAMA_8B = Llama(4096, 32, 14336, 32000, 32, 1024, shards=8)
EXPERTS, EXPERT_LAYERS, EXPERT_HIDDEN, EXPERT_INNER = 64, 4, 512, 256


def make_large_llama(folder: Path, seed: int = 0) -> Path:
    """Write a llama of the shape of TinyLlama, 2.2 GB in bfloat16, and return its folder."""
    return make_llama(folder, TINY_LLAMA, seed)


def make_llama_of_8b(folder: Path, seed: int = 0) -> Path:
    """Write a llama of the shape of Llama 3 8B with a smaller vocabulary, 14.5 GB, and return its folder."""
    return make_llama(folder, LLAMA_8B, seed)


def make_mixture(folder: Path, seed: int = 0) -> Path:
    """Write a toy mixture of 64 experts with a tensor for each of their matrices, 0.2 GB, and return its folder."""
    random = np.random.default_rng(seed)
    make_model(folder, "qwen3_moe", hidden=64, tie=False)
    sizes = {"num_experts": EXPERTS, "num_experts_per_tok": 8, "moe_intermediate_size": EXPERT_INNER}
    _configure(folder, hidden_size=EXPERT_HIDDEN, num_hidden_layers=EXPERT_LAYERS, head_dim=64, **sizes)
    vocabulary = _configure(folder, num_attention_heads=8, num_key_value_heads=2)["vocab_size"]
    write_tensors(folder / "model.safetensors", dict(_mixture(random, vocabulary)))
    return folder


def make_llama(folder: Path, sizes: Llama, seed: int = 0) -> Path:
    """Write a random llama of these sizes, and return its folder."""
    random = np.random.default_rng(seed)
    make_model(folder, "llama", hidden=64, tie=False)
    (folder / "model.safetensors").unlink()
    _configure(
        folder,
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.keys * sizes.heads // sizes.hidden,
        head_dim=sizes.hidden // sizes.heads,
        intermediate_size=sizes.inner,
        vocab_size=sizes.vocabulary,
    )
    where: dict[str, str] = {}
    for shard in range(sizes.shards):
        layers = range(shard * sizes.layers // sizes.shards, (shard + 1) * sizes.layers // sizes.shards)
        tensors = dict(_llama(random, sizes, layers))
        numbered = f"model-{shard + 1:05d}-of-{sizes.shards:05d}.safetensors"
        name = numbered if sizes.shards > 1 else "model.safetensors"
        write_tensors(folder / name, tensors)
        where |= dict.fromkeys(tensors, name)
    if sizes.shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def _configure(folder: Path, **values: object) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    config.update(values)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return config


def _weight(random: np.random.Generator, rows: int, columns: int) -> NDArray[np.uint16]:
    values = random.standard_normal((rows, columns), dtype=np.float32) * np.float32(0.02)
    bits: NDArray[np.uint16] = (values.view(np.uint32) >> 16).astype(np.uint16)  # bfloat16 by truncation
    return bits


def _ones(size: int) -> NDArray[np.uint16]:
    return np.full(size, 0x3F80, np.uint16)


def _llama(random: np.random.Generator, sizes: Llama, layers: range) -> Iterator[Tensor]:
    hidden, inner = sizes.hidden, sizes.inner
    if layers.start == 0:
        yield "model.embed_tokens.weight", _weight(random, sizes.vocabulary, hidden)
        yield "lm_head.weight", _weight(random, sizes.vocabulary, hidden)
        yield "model.norm.weight", _ones(hidden)
    for layer in layers:
        stem = f"model.layers.{layer}"
        for name, rows in (("q", hidden), ("k", sizes.keys), ("v", sizes.keys), ("o", hidden)):
            yield f"{stem}.self_attn.{name}_proj.weight", _weight(random, rows, hidden)
        yield f"{stem}.mlp.gate_proj.weight", _weight(random, inner, hidden)
        yield f"{stem}.mlp.up_proj.weight", _weight(random, inner, hidden)
        yield f"{stem}.mlp.down_proj.weight", _weight(random, hidden, inner)
        yield f"{stem}.input_layernorm.weight", _ones(hidden)
        yield f"{stem}.post_attention_layernorm.weight", _ones(hidden)


def _mixture(random: np.random.Generator, vocabulary: int) -> Iterator[Tensor]:
    hidden = EXPERT_HIDDEN
    yield "model.embed_tokens.weight", _weight(random, vocabulary, hidden)
    yield "lm_head.weight", _weight(random, vocabulary, hidden)
    yield "model.norm.weight", _ones(hidden)
    for layer in range(EXPERT_LAYERS):
        stem = f"model.layers.{layer}"
        for name, rows, columns in (("q", 512, hidden), ("k", 128, hidden), ("v", 128, hidden), ("o", hidden, 512)):
            yield f"{stem}.self_attn.{name}_proj.weight", _weight(random, rows, columns)
        for norm, size in (("self_attn.q_norm", 64), ("self_attn.k_norm", 64)):
            yield f"{stem}.{norm}.weight", _ones(size)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{stem}.{norm}.weight", _ones(hidden)
        yield f"{stem}.mlp.gate.weight", _weight(random, EXPERTS, hidden)
        for expert in range(EXPERTS):
            for name, rows, columns in (
                ("gate", EXPERT_INNER, hidden),
                ("up", EXPERT_INNER, hidden),
                ("down", hidden, EXPERT_INNER),
            ):
                yield f"{stem}.mlp.experts.{expert}.{name}_proj.weight", _weight(random, rows, columns)
