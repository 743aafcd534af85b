"""A random llama of 1.1 billion parameters, of the shape of TinyLlama, with a tiny tokenizer."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from models import make_model
from tensor_file import write_tensors

HIDDEN, LAYERS, INNER, VOCABULARY, KEYS = 2048, 22, 5632, 32000, 256


def make_large_llama(folder: Path, seed: int = 0) -> Path:
    """Write the model, 2.2 GB in bfloat16, and return its folder."""
    make_model(folder, "llama", hidden=64, tie=False)
    config = json.loads((folder / "config.json").read_text())
    config.update(
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=32,
        num_key_value_heads=4,
        head_dim=64,
        intermediate_size=INNER,
        vocab_size=VOCABULARY,
        tie_word_embeddings=False,
    )
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    write_tensors(folder / "model.safetensors", dict(_tensors(np.random.default_rng(seed))))
    return folder


def _tensors(random: np.random.Generator) -> Iterator[tuple[str, NDArray[np.uint16]]]:
    def weight(rows: int, columns: int) -> NDArray[np.uint16]:
        values = random.standard_normal((rows, columns), dtype=np.float32) * np.float32(0.02)
        bits: NDArray[np.uint16] = (values.view(np.uint32) >> 16).astype(np.uint16)  # bfloat16 by truncation
        return bits

    ones = np.full(HIDDEN, 0x3F80, np.uint16)
    yield "model.embed_tokens.weight", weight(VOCABULARY, HIDDEN)
    yield "lm_head.weight", weight(VOCABULARY, HIDDEN)
    yield "model.norm.weight", ones
    for layer in range(LAYERS):
        stem = f"model.layers.{layer}"
        for name, rows in (("q", HIDDEN), ("k", KEYS), ("v", KEYS), ("o", HIDDEN)):
            yield f"{stem}.self_attn.{name}_proj.weight", weight(rows, HIDDEN)
        yield f"{stem}.mlp.gate_proj.weight", weight(INNER, HIDDEN)
        yield f"{stem}.mlp.up_proj.weight", weight(INNER, HIDDEN)
        yield f"{stem}.mlp.down_proj.weight", weight(HIDDEN, INNER)
        yield f"{stem}.input_layernorm.weight", ones
        yield f"{stem}.post_attention_layernorm.weight", ones
