"""How small each size of a config becomes, by the name of its key: the tables of `shrink`."""

from __future__ import annotations

import re
from collections.abc import Mapping

VOCABULARY = 320
HIDDEN = 128
WIDTHS: Mapping[str, int] = {"paddleocr_vl": 1024}
"""By model type the width that mlx-vlm's projector is written for, which a twin has to keep."""
HEAD_DIM = 32
HEADS = 4
EXPERTS = 8
LONG = 300
"""Tokens of the longest text that is read."""
WINDOW, CHUNK, TOPK, FIRST_CONTEXT = 32, 48, 40, 64
"""Where the boundaries lie afterwards: each at another position, so that a position tells which one it was."""
CONTEXT = 2048

# Where wrappers keep the language model.
NESTED = ("text_config", "llm_config", "language_config", "thinker_config")
ALIASES: Mapping[str, tuple[str, ...]] = {
    "hidden": ("hidden_size", "n_embd", "d_model", "dim", "model_dim"),
    "heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "kv": ("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_n_heads", "num_query_groups"),
}
# Where a boundary stands, and the position that it is moved to.
BOUNDARIES: Mapping[str, int] = {
    "sliding_window": WINDOW,
    "attention_window_size": WINDOW,
    "sliding_window_size": WINDOW,
    "window_size": WINDOW,
    "local_window_size": WINDOW,
    "attention_chunk_size": CHUNK,
    "index_topk": TOPK,
    "original_max_position_embeddings": FIRST_CONTEXT,
    "floor_scale": 16,
}
CONTEXTS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length", "seq_length")
ROPES = ("rope_scaling", "rope_parameters")
HEAD_DIMS = ("head_dim", "kv_channels", "global_head_dim", "swa_head_dim", "local_head_dim")
# Sizes by the name of their key; the first that fits.
SIZES: tuple[tuple[str, int], ...] = (
    (r"(moe|expert|shared_expert|routed_expert|router)\w*(intermediate|ffn|hidden)\w*", 64),
    (r"(\w*intermediate_size\w*|\w*ffn\w*_size|n_inner|ffn_dim|mlp_hidden_size|d_ff)", 160),
    (r"vocab_size|padded_vocab_size|vocab_size_per_layer_input", VOCABULARY),
    (r"hidden_size_per_layer_input|embedding_size_per_layer\w*", 16),
    (r"(num_experts|num_local_experts|n_routed_experts|moe_num_experts|num_routed_experts|num_total_experts)", EXPERTS),
    (r"(num_experts_per_tok\w*|moe_k|moe_top_?k|top_k_experts|num_selected_experts|experts_per_token|moe_topk)", 2),
    (r"(zero_expert_num)", 4),
    (r"(n_group|num_expert_group\w*|moe_n_group|num_experts_groups)", 4),
    (r"(topk_group|num_limited_groups|moe_topk_group)", 2),
    (r"(n_shared_experts|num_shared_experts?|moe_num_shared_experts)", 2),
    (r"\w*q_lora_rank", 48),
    (r"\w*kv_lora_rank", 32),
    (r"\w*(lora_rank|_rank)", 16),
    (r"qk_rope_head_dim|rope_head_dim", 16),
    (r"(swa_)?v_head_dim", 32),
    (r"index_block_size", 8),
    (r"index_topk_blocks", 5),
    (r"index_n_heads", 32),  # with a few, many scores are 0 alike and which ones count is chance
    (r"linear_(key|value)_head_dim|key_head_dim|value_head_dim", 32),
    (r"(mamba_d_state|ssm_state_size|state_size|mamba_ssm_state_size)", 16),
    (r"(mamba_d_head|mamba_head_dim)", 32),
    (r"(mamba_n_groups|n_groups)", 2),
    (r"(mamba_chunk_size|chunk_size)", 64),
    (r"laurel_rank", 16),
    (r"(time_step_rank|mamba_dt_rank)", 8),
)
LARGEST_HEAD = 256
FOURFOLD = r"intermediate_size|n_inner|ffn_dim|ffn_hidden_size|mlp_hidden_size|d_ff"
TOKEN = re.compile(r"\w*_token_(id|index|ids)|(boi|eoi|boa|eoa|bos|eos|pad|image|video|audio)_token_id\w*|\w+_token")
