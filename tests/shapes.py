"""The tensors and the config of small models, named and shaped as Hugging Face writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import families
from tiny_tokenizer import END_OF_TEXT, TURN_END, TURN_START

Shapes = dict[str, tuple[int, ...]]  # of tensors, by name

CLASSES = {
    "gemma2": "Gemma2ForCausalLM",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    **families.CLASSES,
}
WIDE_HEADS = {"qwen3", "gemma2", "gemma3_text", "qwen3_5", "qwen3_moe"}
ADDED_NORMS = {"gemma2", "gemma3_text", "qwen3_5"}
"""They store norms less one."""


@dataclass(frozen=True)
class Sizes:
    """What the shapes follow from."""

    arch: str
    hidden: int
    layers: int
    vocab: int
    heads: int
    kv_heads: int
    tie: bool
    intermediate: int = 128  # a multiple of the group size 64

    @property
    def head_dim(self) -> int:
        """Twice the usual where the config says it: that finds readers who divide instead of looking."""
        return self.hidden // self.heads * (2 if self.arch in WIDE_HEADS else 1)


def tensor_shapes(sizes: Sizes) -> Shapes:
    """Name -> shape of all tensors; matrices are (out, in)."""
    if sizes.arch in families.CLASSES:
        return families.family_shapes(sizes)
    shapes: Shapes = {"model.embed_tokens.weight": (sizes.vocab, sizes.hidden)}
    for layer in range(sizes.layers):
        block = {**attention_shapes(sizes), **mlp_shapes(sizes), **norm_shapes(sizes)}
        shapes.update({f"model.layers.{layer}.{name}": shape for name, shape in block.items()})
    shapes["model.norm.weight"] = (sizes.hidden,)
    if not sizes.tie:
        shapes["lm_head.weight"] = (sizes.vocab, sizes.hidden)
    return shapes


def attention_shapes(sizes: Sizes) -> Shapes:
    """The projections of one layer, with the biases and norms that the architecture has."""
    rows = {"q": sizes.heads * sizes.head_dim}
    rows["k"] = rows["v"] = sizes.kv_heads * sizes.head_dim
    shapes: Shapes = {"self_attn.o_proj.weight": (sizes.hidden, rows["q"])}
    if sizes.arch == "phi3":
        return {"self_attn.qkv_proj.weight": (sum(rows.values()), sizes.hidden), **shapes}
    shapes.update({f"self_attn.{name}_proj.weight": (size, sizes.hidden) for name, size in rows.items()})
    if sizes.arch == "qwen2":
        shapes.update({f"self_attn.{name}_proj.bias": (size,) for name, size in rows.items()})
    if sizes.arch == "qwen3":
        shapes.update({f"self_attn.{name}_norm.weight": (sizes.head_dim,) for name in "qk"})
    return shapes


def mlp_shapes(sizes: Sizes) -> Shapes:
    """The gated feed-forward part of one layer."""
    down: Shapes = {"mlp.down_proj.weight": (sizes.hidden, sizes.intermediate)}
    if sizes.arch == "phi3":
        return {"mlp.gate_up_proj.weight": (2 * sizes.intermediate, sizes.hidden), **down}
    gate_up: Shapes = {f"mlp.{name}_proj.weight": (sizes.intermediate, sizes.hidden) for name in ("gate", "up")}
    return gate_up | down


def norm_shapes(sizes: Sizes) -> Shapes:
    """The norms of one layer: two, or four around attention and feed-forward in gemma2."""
    names = ["input_layernorm", "post_attention_layernorm"]
    if sizes.arch == "gemma2":
        names += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    return {f"{name}.weight": (sizes.hidden,) for name in names}


def base_config(sizes: Sizes, dtype: str) -> dict[str, Any]:
    """config.json in the form of transformers 4; qwen3_5 nests what describes its language model."""
    if sizes.arch == "qwen3_5":
        text = {**_flat_config(sizes, dtype), "model_type": "qwen3_5_text"}
        common = ("architectures", "eos_token_id", "tie_word_embeddings", "torch_dtype")
        return {**{key: text[key] for key in common}, "model_type": sizes.arch, "text_config": text}
    return _flat_config(sizes, dtype)


def _flat_config(sizes: Sizes, dtype: str) -> dict[str, Any]:
    return {
        "architectures": [CLASSES[sizes.arch]],
        "attention_dropout": 0.0,
        "bos_token_id": TURN_START,
        "eos_token_id": TURN_END,
        "hidden_act": "silu",
        "hidden_size": sizes.hidden,
        "initializer_range": 0.02,
        "intermediate_size": sizes.intermediate,
        "max_position_embeddings": 2048,
        "model_type": sizes.arch,
        "num_attention_heads": sizes.heads,
        "num_hidden_layers": sizes.layers,
        "num_key_value_heads": sizes.kv_heads,
        "pad_token_id": END_OF_TEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": sizes.tie,
        "torch_dtype": dtype,
        "use_cache": True,
        "vocab_size": sizes.vocab,
        **own_config(sizes),
    }


def own_config(sizes: Sizes) -> dict[str, Any]:
    """The keys that one architecture has and others have not."""
    if sizes.arch in families.CLASSES:
        return families.family_config(sizes)
    plain = {"attention_bias": False, "rope_scaling": None}
    window = {"use_sliding_window": False, "sliding_window": None, "max_window_layers": sizes.layers}
    own: dict[str, dict[str, Any]] = {
        "gemma2": {
            "attention_bias": False,
            "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0,
            "head_dim": sizes.head_dim,
            "hidden_act": "gelu_pytorch_tanh",
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": sizes.head_dim,
            "sliding_window": 2048,
        },
        "llama": {**plain, "mlp_bias": False, "pretraining_tp": 1},
        "mistral": {"head_dim": sizes.head_dim, "sliding_window": None},
        "phi3": {**plain, "original_max_position_embeddings": 2048, "sliding_window": None},
        "qwen2": window,
        "qwen3": {**plain, **window, "head_dim": sizes.head_dim},
    }
    return own[sizes.arch]
