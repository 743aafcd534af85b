"""Spellings of config.json that transformers 5 writes and mlx-lm's classes do not read: one table.

Each row adds a key in the words of the class; of what is there already only the values in `_RENAMED` and `_REWRITTEN`
change. The twin proves the rows: tests/test_spellings.py has a model for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlx_publish.model.draft import MODEL, Change

Part = Mapping[str, Any]
Rule = Callable[[Part], Any]
FULL, SLIDING, LINEAR = "full_attention", "sliding_attention", "linear_attention"


class _Nothing:
    """The value of a rule that does not apply."""


NOTHING = _Nothing()


def _copy(*names: str) -> Rule:
    """Take the value of the first key that has one."""
    return lambda part: next((part[name] for name in names if part.get(name) is not None), NOTHING)


def _rope(name: str, default: Any = NOTHING) -> Rule:
    """Take a value of `rope_parameters`, or the one that older configs have on top."""

    def find(part: Part) -> Any:
        rope = part.get("rope_parameters")
        by_layer = isinstance(rope, Mapping) and any(isinstance(value, Mapping) for value in rope.values())
        for place in (part, rope if isinstance(rope, Mapping) and not by_layer else {}):
            if place.get(name) is not None:
                return place[name]
        return default

    return find


def _const(value: Any) -> Rule:
    return lambda _: value


def _head_dim(part: Part) -> Any:
    hidden, heads = part.get("hidden_size"), part.get("num_attention_heads")
    return hidden // heads if type(hidden) is int and type(heads) is int and heads > 0 else NOTHING


def _product(first: str, second: str) -> Rule:
    def multiply(part: Part) -> Any:
        left, right = part.get(first), part.get(second)
        return int(left * right) if isinstance(left, (int, float)) and isinstance(right, (int, float)) else NOTHING

    return multiply


def _twice(name: str) -> Rule:
    return lambda part: 2 * part[name] if type(part.get(name)) is int else NOTHING


def _turning(part: Part) -> Any:
    """Return the dimensions of a head that turn."""
    size = part.get("head_dim") or _head_dim(part)
    share = _rope("partial_rotary_factor", 1.0)(part)
    return int(size * share) if type(size) is int else NOTHING


def _pattern(part: Part) -> Any:
    """Return the distance of layers with full attention, where `layer_types` has such a pattern."""
    kinds = part.get("layer_types")
    if not isinstance(kinds, list) or not kinds:
        return NOTHING
    full = [number for number, kind in enumerate(kinds) if kind == FULL]
    period = full[0] + 1 if full else len(kinds) + 1
    wanted = [FULL if (number + 1) % period == 0 else SLIDING for number in range(len(kinds))]
    return period if kinds == wanted else NOTHING


def _letters(part: Part) -> Any:
    """Return the pattern as letters, L for a window and G for full attention; None without a window."""
    kinds, pattern = part.get("layer_types"), part.get("sliding_window_pattern")
    if isinstance(kinds, list) and kinds and part.get("sliding_window"):
        return "".join("G" if kind == FULL else "L" for kind in kinds)
    if type(pattern) is int and pattern > 0 and part.get("sliding_window"):
        return "L" * (pattern - 1) + "G"
    return None if not part.get("sliding_window") else NOTHING


def _of_layers(kind: str, name: str) -> Rule:
    """Take a value of `rope_parameters` for the layers of a kind."""

    def find(part: Part) -> Any:
        rope = (part.get("rope_parameters") or {}).get(kind)
        return rope[name] if isinstance(rope, Mapping) and rope.get(name) is not None else NOTHING

    return find


def _scaling_of(kind: str) -> Rule:
    """Take the scaling of the layers of a kind, in the words of `rope_scaling`."""

    def find(part: Part) -> Any:
        rope = (part.get("rope_parameters") or {}).get(kind)
        rope_type = rope.get("rope_type", "default") if isinstance(rope, Mapping) else "default"
        if rope_type == "default":
            return NOTHING
        kept = {
            key: value for key, value in dict(rope or {}).items() if key not in ("rope_theta", "partial_rotary_factor")
        }
        return {"type": rope_type, **kept}

    return find


def _of_kind(kind: str, name: str) -> Rule:
    """Take what `per_layer_config` says of all layers of a kind."""

    def find(part: Part) -> Any:
        kinds, own = part.get("layer_types"), part.get("per_layer_config")
        if not isinstance(kinds, list):
            return NOTHING
        by_layer = {int(number): value for number, value in (own or {}).items() if isinstance(value, Mapping)}
        values = [
            by_layer.get(number, {}).get(name, part.get(name)) for number, layer in enumerate(kinds) if layer == kind
        ]
        return values[0] if values and values[0] is not None and all(v == values[0] for v in values) else NOTHING

    return find


def _flags(name: str, kind: str, form: type[bool] | type[int] = bool) -> Rule:
    """Say for each layer whether a list gives it this kind: true and false, or 1 and 0."""
    return lambda part: [form(layer == kind) for layer in part[name]] if isinstance(part.get(name), list) else NOTHING


def _unscaled(part: Part) -> Any:
    """Return a scaling of longrope that changes nothing, for a class that cannot do without one."""
    context = part.get("max_position_embeddings")
    return {"type": "longrope", "original_max_position_embeddings": context} if type(context) is int else NOTHING


def _kimi_linear(part: Part) -> Any:
    kinds = part.get("layer_types")
    if not isinstance(kinds, list) or not {"linear_num_heads", "linear_head_dim"} <= part.keys():
        return NOTHING
    return {
        "kda_layers": [number for number, kind in enumerate(kinds, 1) if kind == LINEAR],
        "full_attn_layers": [number for number, kind in enumerate(kinds, 1) if kind != LINEAR],
        "num_heads": part["linear_num_heads"],
        "head_dim": part["linear_head_dim"],
        "short_conv_kernel_size": part.get("linear_conv_kernel_dim", 4),
    }


def _dense_first(part: Part) -> Any:
    """Return how many layers at the beginning have no experts."""
    kinds = part.get("mlp_layer_types")
    if not isinstance(kinds, list):
        return NOTHING
    dense = next((number for number, kind in enumerate(kinds) if kind == "sparse"), len(kinds))
    return dense if all(kind == "sparse" for kind in kinds[dense:]) else NOTHING


_DEEPSEEK: Mapping[str, Rule] = {
    "topk_method": _const("noaux_tc"),
    "scoring_func": _const("sigmoid"),
    "moe_layer_freq": _const(1),
    "first_k_dense_replace": _dense_first,
    "rope_scaling": _const(None),
    "head_dim": _head_dim,
}
_GEMMA: Mapping[str, Rule] = {
    "rope_theta": _of_layers(FULL, "rope_theta"),
    "rope_local_base_freq": _of_layers(SLIDING, "rope_theta"),
    "rope_scaling": _scaling_of(FULL),
    "sliding_window_pattern": _pattern,
}
_QWEN_MOE: Mapping[str, Rule] = {"num_experts": _copy("num_local_experts"), "head_dim": _head_dim}

# By model type what its class reads and a config may lack. A text part has the type of its own, with or without _text.
MISSING: Mapping[str, Mapping[str, Rule]] = {
    "apertus": {"mlp_bias": _const(False), "post_norm": _const(False), "qk_norm": _const(True)},
    "falcon_h1": {"head_dim": _head_dim},
    "cohere2": {"sliding_window_pattern": _pattern},
    "exaone": {"num_layers": _copy("num_hidden_layers"), "layer_norm_epsilon": _copy("rms_norm_eps")},
    "llama4": {
        "intermediate_size_mlp": _copy("intermediate_size"),
        "use_qk_norm": _const(True),
        "rope_scaling": _const(None),
    },
    "exaone4": {"head_dim": _head_dim, "rope_scaling": _const(None), "sliding_window_pattern": _letters,
                "sliding_window": _const(None)},
    "exaone_moe": {"head_dim": _head_dim, "is_moe_layer": _flags("mlp_layer_types", "sparse")},
    "gemma3": _GEMMA,
    "gemma3n": {"rope_theta": _of_layers(FULL, "rope_theta"), "rope_local_base_freq": _of_layers(SLIDING,
    "rope_theta")},
    "gemma4_unified": {
        "hidden_size_per_layer_input": _const(0),
        "global_head_dim": _of_kind(FULL, "head_dim"),
        "num_global_key_value_heads": _of_kind(FULL, "num_key_value_heads"),
    },
    "gemma4": {"global_head_dim": _of_kind(FULL, "head_dim"),
               "num_global_key_value_heads": _of_kind(FULL, "num_key_value_heads")},
    "glm4_moe": _DEEPSEEK,
    "glm_moe_dsa": _DEEPSEEK,
    "gpt2": {"n_ctx": _copy("n_positions")},
    "gpt_bigcode": {"n_inner": lambda part: 4 * part["n_embd"] if type(part.get("n_embd")) is int else NOTHING},
    "gpt_neox": {"rotary_emb_base": _rope("rope_theta", 10000.0), "rotary_pct": _rope("partial_rotary_factor", 1.0)},
    "kimi_linear": {"first_k_dense_replace": _dense_first, "linear_attn_config": _kimi_linear,
    "rope_theta": _rope("rope_theta", 10000.0)},
    "lfm2": {"block_dim": _copy("hidden_size")},
    "deepseek_v2": {"rope_scaling": _const({"type": "yarn", "factor": 1.0})},
    "longcat_flash": {"attention_method": _const("MLA"), "zero_expert_type": _const("identity"),
                      "mla_scale_q_lora": _const(True), "mla_scale_kv_lora": _const(True)},
    "mamba2": {"intermediate_size": _product("expand", "hidden_size")},
    "mellum": {"num_experts": _copy("num_local_experts")},
    "mimo_v2_flash": {
        "hybrid_layer_pattern": _flags("layer_types", SLIDING, int),
        "moe_layer_freq": _flags("mlp_layer_types", "sparse", int),
        "sliding_window_size": _copy("sliding_window"), "layernorm_epsilon": _copy("rms_norm_eps"),
        "rope_theta": _of_layers(FULL, "rope_theta"), "swa_rope_theta": _of_layers(SLIDING, "rope_theta"),
        "partial_rotary_factor": _of_layers(FULL, "partial_rotary_factor"),
        "add_swa_attention_sink_bias": _const(True), "add_full_attention_sink_bias": _const(False),
        "swa_num_attention_heads": _of_kind(SLIDING, "num_attention_heads"),
        "swa_num_key_value_heads": _twice("num_key_value_heads"),
        "swa_head_dim": _of_kind(SLIDING, "head_dim"), "swa_v_head_dim": _of_kind(SLIDING, "v_head_dim"),
        "n_shared_experts": _const(None), "topk_method": _const("noaux_tc"), "scoring_func": _const("sigmoid"),
    },
    "minicpm3": {"rope_scaling": _unscaled, "rope_theta": _rope("rope_theta", 10000.0)},
    "nemotron_h": {"head_dim": _copy("attention_head_dim")},
    "minimax_m2": {"shared_intermediate_size": _const(0), "rotary_dim": _turning},
    "olmo3": {"rope_theta": _of_layers(FULL, "rope_theta"), "rope_scaling": _scaling_of(FULL)},
    "qwen3_moe": _QWEN_MOE,
    "qwen3_vl": {"tie_word_embeddings": _const(False)},
    "qwen3_vl_moe": {**_QWEN_MOE, "norm_topk_prob": _const(True), "tie_word_embeddings": _const(False)},
    "solar_open": {"first_k_dense_replace": _const(0), "partial_rotary_factor": _rope("partial_rotary_factor", 1.0),
                   "intermediate_size": _copy("moe_intermediate_size")},
}  # fmt: skip

# Values of lists by model type and key, as transformers 5 calls them and as the class does.
_RENAMED: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "granitemoehybrid": {"layer_types": {LINEAR: "mamba", FULL: "attention"}},
}


# Text parts that are published for themselves and that mlx-lm reads as the text part of a whole model only.
WRAPPED: Mapping[str, str] = {
    "qwen3_5_text": "qwen3_5",
    "qwen3_5_moe_text": "qwen3_5_moe",
    "llama4_text": "llama4",
    "gemma3n_text": "gemma3n",
    "qwen3_vl_text": "qwen3_vl",
    "qwen3_vl_moe_text": "qwen3_vl_moe",
}
_ON_TOP = ("architectures", "eos_token_id", "bos_token_id", "pad_token_id", "torch_dtype", "dtype",
"transformers_version",
           "tie_word_embeddings", "vocab_size")  # fmt: skip


# Types that mlx-lm has a class for under another name.
RETYPED: Mapping[str, str] = {"lfm2_vl": "lfm2-vl"}


def class_type(config: Part) -> str | None:
    """Return the model type under which mlx-lm has a class for a config: its own, another name, or a wrapper's."""
    kind = config.get("model_type")
    return wrapper_of(config) or RETYPED.get(str(kind)) or (kind if isinstance(kind, str) and kind else None)


def wrapper_of(config: Part) -> str | None:
    """Return the model type under which mlx-lm reads a text part alone; None if it reads it as it is.

    Its class llama4_text is for dense models; those with experts are read as llama4.
    """
    kind = str(config.get("model_type"))
    if kind == "llama4_text" and not config.get("num_local_experts"):
        return None
    return WRAPPED.get(kind)


def wrap(config: dict[str, Any]) -> list[Change]:
    """Set the model type that mlx-lm has a class for, with a text part as its `text_config`; return the changes."""
    kind, wrapper = config.get("model_type"), wrapper_of(config)
    if other := RETYPED.get(str(kind)):
        config["model_type"] = other
        return [Change(MODEL, "model_type", f"model_type {other}, as mlx-lm names {kind}")]
    if wrapper is None:
        return []
    text = dict(config)
    config.clear()
    config.update({key: text[key] for key in _ON_TOP if key in text}, model_type=wrapper, text_config=text)
    return [Change(MODEL, "text_config", f"{kind} as the text_config of {wrapper}")]


def _untied(part: Part) -> Any:
    return False if part.get("tie_word_embeddings", True) is True else NOTHING


def _letters_of_number(part: Part) -> Any:
    return _letters(part) if type(part.get("sliding_window_pattern")) is int else NOTHING


# Values that a class reads in another form, or computes with in one form only, each with the reason.
_REWRITTEN: Mapping[str, Mapping[str, tuple[Rule, str]]] = {
    "exaone4": {"sliding_window_pattern": (_letters_of_number, "in the letters that mlx-lm's class reads")},
    # Its class scales what goes into a head of its own and not what goes into the embedding; engine/names adds that.
    "minicpm3": {"tie_word_embeddings": (_untied, "for mlx-lm scales the logits of a head of its own only")},
}


def add_spellings(part: dict[str, Any], model_type: str, library: str = "mlx-lm") -> list[Change]:
    """Write what the class of a type reads into a part of config.json; return the changes."""
    kind = model_type.removesuffix("_text")
    changes: list[Change] = []

    def write(key: str, value: Any, message: str) -> None:
        part[key] = value
        changes.append(Change(MODEL, key, message))

    for key, rule in MISSING.get(kind, {}).items():
        value = _ruled(rule, part) if part.get(key) is None else NOTHING
        if value is not NOTHING and (key not in part or value is not None):
            write(key, value, f"{key} {_short(value)}, which {library}'s class for {model_type} reads")
    for key, (rule, why) in _REWRITTEN.get(kind, {}).items():
        if (value := rule(part)) is not NOTHING and value != part.get(key):
            write(key, value, f"{key} {_short(value)}, {why}")
    for key, names in _RENAMED.get(kind, {}).items():
        values = part.get(key)
        if isinstance(values, list) and any(isinstance(value, str) and value in names for value in values):
            renamed = [names.get(value, value) if isinstance(value, str) else value for value in values]
            write(key, renamed, f"{key} in the words of {library}'s class for {model_type}")
    return changes


def _ruled(rule: Rule, part: Part) -> Any:
    """Apply a rule; a text where a mapping belongs, or an infinite size, is for a check to judge."""
    try:
        return rule(part)
    except (ArithmeticError, AttributeError, TypeError, ValueError):
        return NOTHING


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
