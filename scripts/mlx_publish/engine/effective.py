"""What the built model really computes with, beside what its source's config asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mlx import nn
from mlx.utils import tree_flatten

from mlx_publish.engine.backends import backend, keeps_senses, plain_caches
from mlx_publish.engine.rope import magnitude_mismatch, partial_factor, rope_of, turns_part
from mlx_publish.engine.sense_settings import differences, filled_in
from mlx_publish.evidence.conversion import Hyperparameters, Mismatch
from mlx_publish.model.config import ModelConfig

# Keys that change the mathematics. One that the MLX class does not know matters where its value is not the one that
# transformers takes by itself for this model type: that is the value the class was written for.
SIGNIFICANT = frozenset({
    "hidden_act", "hidden_activation", "activation_function", "rms_norm_eps", "layer_norm_eps", "norm_eps",
    "layer_norm_epsilon", "partial_rotary_factor", "rotary_pct", "attention_bias", "mlp_bias", "use_bias", "qkv_bias",
    "attention_out_bias", "attention_multiplier", "embedding_multiplier", "residual_multiplier", "logits_scaling",
    "logit_scale", "final_logit_softcapping", "attn_logit_softcapping", "query_pre_attn_scalar", "use_qk_norm",
    "qk_layernorm", "head_dim", "num_key_value_heads", "num_experts_per_tok", "norm_topk_prob", "routed_scaling_factor",
    "scoring_func", "n_group", "topk_group", "clip_qkv", "alibi", "no_rope_layers", "scale_emb", "scale_depth",
    "dim_model_base", "parallel_attn", "new_decoder_architecture", "tie_word_embeddings", "hidden_size",
    "intermediate_size", "num_hidden_layers", "num_attention_heads", "rope_interleaved", "use_sliding_window",
})  # fmt: skip
# By model type keys that transformers ignores, or writes though they are derived.
_MEANINGLESS: Mapping[str, frozenset[str]] = {
    "gemma": frozenset({"hidden_act"}),  # always the tanh approximation of GELU
    "dbrx": frozenset({"num_key_value_heads"}),
    "phimoe": frozenset({"attention_bias"}),
}


def hyperparameters(model: nn.Module, config: ModelConfig) -> Hyperparameters:
    """Compare the instantiated model with the source's config."""
    known = _known(model)
    kind = str(config.text.get("model_type") or config.raw.get("model_type") or "")
    asked = {
        key: value
        for key, value in config.text.items()
        if key in SIGNIFICANT and value is not None and not _is_meaningless(key, kind, config, model)
    }
    asked |= partial_factor(config)
    usual = _defaults(kind)
    if turns_part(model, config, asked.get("partial_rotary_factor", 1.0)):
        usual.pop("partial_rotary_factor", None)
    else:
        usual["partial_rotary_factor"] = 1.0
    ignored = {
        key: value
        for key, value in asked.items()
        if known and key not in known and not _is_same(value, usual.get(key, value))
    }
    differs = {
        key: Mismatch(value, known[key])
        for key, value in asked.items()
        if key in known and not _is_same(value, known[key])
    }
    if keeps_senses():
        more = differences(config.raw, getattr(model, "config", None))
        ignored, differs = ignored | more[0], differs | more[1]
    differs |= magnitude_mismatch(model, config) | _window_mismatch(model, config)
    filled = filled_in(config.raw, getattr(model, "config", None)) if keeps_senses() else {}
    return Hyperparameters(ignored, differs, rope_of(model, config), filled)


def _known(model: nn.Module) -> dict[str, object]:
    """Return what the class took from the config; some keep the text part as a dict, some as an object."""
    args = getattr(model, "config" if keeps_senses() else "args", None)
    known = dict(vars(args)) if args is not None else {}
    nested = known.get("text_config")
    if nested is not None:
        known |= nested if isinstance(nested, Mapping) else vars(nested)
    return known


def _is_meaningless(key: str, model_type: str, config: ModelConfig, model: nn.Module) -> bool:
    """Return whether a key means nothing in this model: transformers ignores or derives it, or the weights decide."""
    if key in _MEANINGLESS.get(model_type.removesuffix("_text"), ()):
        return True
    text = config.text
    latent = "qk_rope_head_dim" in text
    if key == "head_dim":  # transformers 5 saves what it derives, of multi-head latent attention something else
        return latent or bool(text[key] * (text.get("num_attention_heads") or 0) == text.get("hidden_size"))
    if key in ("num_key_value_heads", "no_rope_layers"):
        return (latent and key == "num_key_value_heads") or text[key] == []
    if key == "tie_word_embeddings":
        head = any(name.endswith("lm_head.weight") for name, _ in tree_flatten(model.parameters()))
        return bool(text[key]) != head
    return False


def _window_mismatch(model: nn.Module, config: ModelConfig) -> dict[str, Mismatch]:
    """Return a sliding window that no layer has, by the caches: a layer with a window forgets what is outside of it."""
    window, text = config.window, config.text
    context, kinds = text.get("max_position_embeddings"), text.get("layer_types")
    if window is None or (type(context) is int and window >= context):
        return {}
    if isinstance(kinds, list) and not any("sliding" in str(kind) for kind in kinds):
        return {}
    if type(first := text.get("max_window_layers")) is int and first >= int(text.get("num_hidden_layers") or 0):
        return {}
    sizes = {getattr(cache, "max_size", None) for cache in plain_caches(backend().make_cache(model))}
    return {} if window in sizes else {"sliding_window": Mismatch(window, None)}


def _defaults(model_type: str) -> dict[str, object]:
    """Return what transformers takes for a model type where its config says nothing."""
    from transformers import CONFIG_MAPPING  # noqa: PLC0415

    try:
        defaults: dict[str, object] = CONFIG_MAPPING[model_type]().to_dict()
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
    return defaults


def _is_same(value: object, other: object) -> bool:
    if isinstance(value, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(value, other, rel_tol=1e-6)
    return value == other
