"""Small models of other families: experts, latent attention, hybrids, and classes with ways of their own.

Named and shaped as Hugging Face writes them; `shapes` has what is common to all.
"""

from __future__ import annotations

from typing import Any, Protocol

Shapes = dict[str, tuple[int, ...]]

FAMILIES = ("deepseek_v3", "dots1", "gemma3_text", "granite", "lfm2", "qwen3_5", "qwen3_moe")
"""Those that convert; ernie4_5_moe has a router bias that its MLX class leaves out."""
CLASSES = {
    "deepseek_v3": "DeepseekV3ForCausalLM",
    "dots1": "Dots1ForCausalLM",
    "ernie4_5_moe": "Ernie4_5_MoeForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM",
    "granite": "GraniteForCausalLM",
    "lfm2": "Lfm2ForCausalLM",
    "qwen3_5": "Qwen3_5ForConditionalGeneration",
    "qwen3_moe": "Qwen3MoeForCausalLM",
}
EXPERTS, CHOSEN, WIDTH = 8, 2, 64
LATENT, ROTATED, PLAIN = 64, 32, 64
"""Of latent attention: the ranks, and the parts of a head that turn and do not."""
LINEAR_HEADS, LINEAR_WIDTH, KERNEL = 4, 32, 4
"""Of qwen3_5's linear attention; it has half as many heads of keys."""


class Dimensions(Protocol):
    """What the shapes follow from: `shapes.Sizes`."""

    @property
    def arch(self) -> str: ...
    @property
    def hidden(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def vocab(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def kv_heads(self) -> int: ...
    @property
    def tie(self) -> bool: ...
    @property
    def intermediate(self) -> int: ...
    @property
    def head_dim(self) -> int: ...


def family_shapes(sizes: Dimensions) -> Shapes:
    """Name -> shape of all tensors of a family."""
    prefix = "model.language_model" if sizes.arch == "qwen3_5" else "model"
    shapes: Shapes = {f"{prefix}.embed_tokens.weight": (sizes.vocab, sizes.hidden)}
    for layer in range(sizes.layers):
        block = {**_attention(sizes, layer), **_feed_forward(sizes, layer), **_norms(sizes)}
        shapes.update({f"{prefix}.layers.{layer}.{name}": shape for name, shape in block.items()})
    shapes[f"{prefix}.{'embedding_norm' if sizes.arch == 'lfm2' else 'norm'}.weight"] = (sizes.hidden,)
    if not sizes.tie:
        shapes["lm_head.weight"] = (sizes.vocab, sizes.hidden)
    return shapes


def full(sizes: Dimensions, layer: int) -> bool:
    """Hybrids have full attention in their last layer alone."""
    return sizes.arch not in {"lfm2", "qwen3_5"} or layer == sizes.layers - 1


def _attention(sizes: Dimensions, layer: int) -> Shapes:
    if sizes.arch == "deepseek_v3":
        return _latent(sizes)
    if not full(sizes, layer):
        return _short_convolution(sizes) if sizes.arch == "lfm2" else _linear(sizes)
    rows = sizes.heads * sizes.head_dim
    few, gate = sizes.kv_heads * sizes.head_dim, 2 if sizes.arch == "qwen3_5" else 1
    out, norm = ("out_proj", "layernorm") if sizes.arch == "lfm2" else ("o_proj", "norm")
    shapes: Shapes = {
        "self_attn.q_proj.weight": (gate * rows, sizes.hidden),
        "self_attn.k_proj.weight": (few, sizes.hidden),
        "self_attn.v_proj.weight": (few, sizes.hidden),
        f"self_attn.{out}.weight": (sizes.hidden, rows),
    }
    if sizes.arch not in {"granite", "ernie4_5_moe"}:
        shapes |= {f"self_attn.{name}_{norm}.weight": (sizes.head_dim,) for name in "qk"}
    return shapes


def _latent(sizes: Dimensions) -> Shapes:
    return {
        "self_attn.q_a_proj.weight": (LATENT, sizes.hidden),
        "self_attn.q_a_layernorm.weight": (LATENT,),
        "self_attn.q_b_proj.weight": (sizes.heads * (PLAIN + ROTATED), LATENT),
        "self_attn.kv_a_proj_with_mqa.weight": (LATENT + ROTATED, sizes.hidden),
        "self_attn.kv_a_layernorm.weight": (LATENT,),
        "self_attn.kv_b_proj.weight": (sizes.heads * 2 * PLAIN, LATENT),
        "self_attn.o_proj.weight": (sizes.hidden, sizes.heads * PLAIN),
    }


def _short_convolution(sizes: Dimensions) -> Shapes:
    return {
        "conv.conv.weight": (sizes.hidden, 1, KERNEL - 1),
        "conv.in_proj.weight": (3 * sizes.hidden, sizes.hidden),
        "conv.out_proj.weight": (sizes.hidden, sizes.hidden),
    }


def _linear(sizes: Dimensions) -> Shapes:
    values = LINEAR_HEADS * LINEAR_WIDTH
    return {
        "linear_attn.in_proj_qkv.weight": (2 * values, sizes.hidden),
        "linear_attn.in_proj_z.weight": (values, sizes.hidden),
        "linear_attn.in_proj_a.weight": (LINEAR_HEADS, sizes.hidden),
        "linear_attn.in_proj_b.weight": (LINEAR_HEADS, sizes.hidden),
        "linear_attn.conv1d.weight": (2 * values, 1, KERNEL),
        "linear_attn.A_log": (LINEAR_HEADS,),
        "linear_attn.dt_bias": (LINEAR_HEADS,),
        "linear_attn.norm.weight": (LINEAR_WIDTH,),
        "linear_attn.out_proj.weight": (sizes.hidden, values),
    }


def _feed_forward(sizes: Dimensions, layer: int) -> Shapes:
    if sizes.arch == "lfm2":
        wide = {f"feed_forward.{name}.weight": (sizes.intermediate, sizes.hidden) for name in ("w1", "w3")}
        return {**wide, "feed_forward.w2.weight": (sizes.hidden, sizes.intermediate)}
    if sizes.arch == "qwen3_moe":
        return _experts(sizes)
    if sizes.arch in {"deepseek_v3", "dots1", "ernie4_5_moe"} and layer > 0:
        bias = "moe_statics" if sizes.arch == "ernie4_5_moe" else "gate"
        shared = _gated(sizes, "mlp.shared_experts", WIDTH)
        return {**_experts(sizes), **shared, f"mlp.{bias}.e_score_correction_bias": (EXPERTS,)}
    return _gated(sizes, "mlp", sizes.intermediate)


def _experts(sizes: Dimensions) -> Shapes:
    shapes: Shapes = {"mlp.gate.weight": (EXPERTS, sizes.hidden)}
    for expert in range(EXPERTS):
        shapes |= _gated(sizes, f"mlp.experts.{expert}", WIDTH)
    return shapes


def _gated(sizes: Dimensions, where: str, width: int) -> Shapes:
    wide: Shapes = {f"{where}.{name}_proj.weight": (width, sizes.hidden) for name in ("gate", "up")}
    return {**wide, f"{where}.down_proj.weight": (sizes.hidden, width)}


def _norms(sizes: Dimensions) -> Shapes:
    names = ["operator", "ffn"] if sizes.arch == "lfm2" else ["input_layer", "post_attention_layer"]
    names = [f"{name}{'_norm' if sizes.arch == 'lfm2' else 'norm'}" for name in names]
    if sizes.arch == "gemma3_text":
        names += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    return {f"{name}.weight": (sizes.hidden,) for name in names}


def family_config(sizes: Dimensions) -> dict[str, Any]:
    """The keys that a family has and others have not."""
    experts = {"moe_intermediate_size": WIDTH, "num_experts_per_tok": CHOSEN, "norm_topk_prob": True}
    routed = {
        **experts,
        "n_routed_experts": EXPERTS,
        "n_shared_experts": 1,
        "first_k_dense_replace": 1,
        "n_group": 1,
        "topk_group": 1,
        "routed_scaling_factor": 1.0,
        "attention_bias": False,
        "scoring_func": "sigmoid",
    }
    kinds = ["full_attention" if full(sizes, layer) else "linear_attention" for layer in range(sizes.layers)]
    own: dict[str, dict[str, Any]] = {
        "deepseek_v3": {
            **routed, "q_lora_rank": LATENT, "kv_lora_rank": LATENT, "qk_rope_head_dim": ROTATED,
            "qk_nope_head_dim": PLAIN, "v_head_dim": PLAIN, "num_key_value_heads": sizes.heads,
            "moe_layer_freq": 1, "topk_method": "noaux_tc", "rope_scaling": None,
        },
        "dots1": {**routed, "head_dim": sizes.head_dim, "mlp_bias": False, "rope_scaling": None},
        "ernie4_5_moe": {
            "moe_num_experts": EXPERTS, "moe_k": CHOSEN, "moe_intermediate_size": WIDTH, "moe_num_shared_experts": 1,
            "moe_layer_start_index": 1, "moe_layer_end_index": sizes.layers - 1, "use_bias": False,
        },
        "gemma3_text": {
            "attention_bias": False, "head_dim": sizes.head_dim, "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": sizes.head_dim, "rope_local_base_freq": 1e4, "sliding_window": 32,
            "sliding_window_pattern": 2,
        },
        "granite": {
            "attention_bias": False, "attention_multiplier": 0.25, "embedding_multiplier": 6.0,
            "logits_scaling": 4.0, "mlp_bias": False, "residual_multiplier": 0.3, "rope_scaling": None,
        },
        "lfm2": {
            "block_auto_adjust_ff_dim": False, "block_dim": sizes.hidden, "block_ff_dim": sizes.intermediate,
            "block_ffn_dim_multiplier": 1.0, "block_multiple_of": 256, "conv_L_cache": KERNEL - 1, "conv_bias": False,
            "full_attn_idxs": [sizes.layers - 1], "norm_eps": 1e-5,
        },
        "qwen3_5": {
            "attention_bias": False, "head_dim": sizes.head_dim, "layer_types": kinds,
            "linear_conv_kernel_dim": KERNEL, "linear_key_head_dim": LINEAR_WIDTH,
            "linear_num_key_heads": LINEAR_HEADS // 2, "linear_num_value_heads": LINEAR_HEADS,
            "linear_value_head_dim": LINEAR_WIDTH, "full_attention_interval": sizes.layers,
            "partial_rotary_factor": 0.25,
            "rope_parameters": {"partial_rotary_factor": 0.25, "rope_theta": 1e4, "rope_type": "default"},
        },
        "qwen3_moe": {
            **experts, "attention_bias": False, "decoder_sparse_step": 1, "head_dim": sizes.head_dim,
            "mlp_only_layers": [], "num_experts": EXPERTS, "rope_scaling": None,
        },
    }  # fmt: skip
    return own[sizes.arch]
