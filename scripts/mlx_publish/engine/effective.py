"""What the built model really computes with, beside what its source's config asks for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mlx import nn
from mlx_lm.models.rope_utils import initialize_rope

from mlx_publish.model.normalise import declared_scaling, declared_thetas

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


def hyperparameters(model: nn.Module, config: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the instantiated model with the source's config.

    Returns `ignored`: significant keys with values that the MLX class neither knows nor can have been written for;
    `differs`: keys whose value in the model is another one; `rope`: what is declared and not in use.
    """
    text = config.get("text_config") if isinstance(config.get("text_config"), Mapping) else config
    args = getattr(model, "args", None)
    known = vars(args) if args is not None else {}
    if isinstance(known.get("text_config"), Mapping):
        known = {**known, **known["text_config"]}
    asked = {key: value for key, value in (text or {}).items() if key in SIGNIFICANT and value is not None}
    asked |= _part_of_rope(text or {})
    usual = _defaults(str((text or {}).get("model_type", "")))
    if _turns_part(model, text or {}, asked.get("partial_rotary_factor", 1.0)):
        usual.pop("partial_rotary_factor", None)
    else:
        usual["partial_rotary_factor"] = 1.0
    return {
        "ignored": {
            key: value
            for key, value in asked.items()
            if known and key not in known and not _same(value, usual.get(key, value))
        },
        "differs": {
            key: {"config": value, "built": known[key]}
            for key, value in asked.items()
            if key in known and not _same(value, known[key])
        }
        | _magnitude(model, config),
        "rope": _rope(model, config),
    }


def _defaults(model_type: str) -> dict[str, Any]:
    """What transformers takes for a model type where its config says nothing."""
    from transformers import CONFIG_MAPPING  # noqa: PLC0415

    try:
        found: dict[str, Any] = CONFIG_MAPPING[model_type]().to_dict()
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
    return found


def _same(one: object, other: object) -> bool:
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-6)
    return one == other


def _part_of_rope(text: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the dimensions that turns, where only transformers 5's `rope_parameters` names it."""
    part = (text.get("rope_parameters") or {}).get("partial_rotary_factor")
    return {} if part is None or text.get("partial_rotary_factor") is not None else {"partial_rotary_factor": part}


def _turns_part(model: nn.Module, text: Mapping[str, Any], part: float) -> bool:
    """Whether a rope module turns this part of a head, whatever its class calls it (rotary_pct, rotary_dim)."""
    heads, hidden = text.get("num_attention_heads"), text.get("hidden_size")
    size = text.get("head_dim") or (hidden // heads if heads and hidden else None)
    built = [found for _, module in model.named_modules() if (found := wavelengths(module)) is not None]
    return not built or size is None or any(2 * len(found) == int(size * part) for found in built)


def _magnitude(model: nn.Module, config: Mapping[str, Any]) -> dict[str, Any]:
    """By what yarn and longrope multiply, where the built model does it otherwise than transformers."""
    scaling, text = declared_scaling(config), config.get("text_config") or config
    wanted = _attention_factor(scaling, text) if scaling else None
    modules = [module for _, module in model.named_modules() if "RoPE" in type(module).__name__]
    built = {
        float(getattr(module, name)) for module in modules for name in ("mscale", "_scale") if hasattr(module, name)
    }
    if wanted is None or not built or any(_same(wanted, found) for found in built):
        return {}
    return {"the attention_factor of rope": {"config": round(wanted, 6), "built": round(min(built), 6)}}


def _attention_factor(scaling: Mapping[str, Any], text: Mapping[str, Any]) -> float | None:
    """What the config says of it; None where that is left to the class, as by most that scale by yarn.

    Longrope has the formula of transformers (modeling_rope_utils.py) where nothing is said.
    """
    kind = scaling["rope_type"]
    given = scaling.get("attention_factor") or (scaling.get("long_mscale") if kind == "longrope" else None)
    if given is not None or kind != "longrope":
        return float(given) if given is not None and kind in ("yarn", "longrope") else None
    first = scaling.get("original_max_position_embeddings") or text.get("original_max_position_embeddings")
    factor = scaling.get("factor") or ((text.get("max_position_embeddings") or 0) / first if first else 1.0)
    return math.sqrt(1 + math.log(factor) / math.log(first)) if first and factor > 1 else 1.0


def _rope(model: nn.Module, config: Mapping[str, Any]) -> dict[str, Any]:
    """Which declared bases and scalings of rope are in use, by the wavelengths of the built modules."""
    modules = [module for _, module in model.named_modules() if "RoPE" in type(module).__name__]
    built = [found for module in modules if (found := wavelengths(module)) is not None]
    declared, scaling = sorted(declared_thetas(config)), declared_scaling(config)
    text = config.get("text_config") or config
    missing = []
    for base in declared if built else ():
        wanted = [
            expected
            for dims in {2 * len(found) for found in built}
            if (expected := _expected(dims, base, scaling, text)) is not None
        ]
        # A base of a local layer is never scaled, and a scaling that mlx-lm cannot make shows nothing.
        wanted += [_plain(2 * len(found), base) for found in built] if len(declared) > 1 or not wanted else []
        if not any(_close(found, one) for found in built for one in wanted):
            missing.append(base)
    return {
        "declared_bases": declared,
        "declared_scaling": scaling["rope_type"] if scaling else None,
        "built_kinds": sorted({type(module).__name__ for module in modules}),
        "missing_bases": missing,
    }


def wavelengths(module: Any) -> list[float] | None:
    """Reciprocal angular frequencies, (dims / 2,), of a rope module of whatever kind; None where it shows none."""
    if (freqs := getattr(module, "_freqs", None)) is not None:
        return [float(value) for value in freqs.tolist()]
    base, dims = getattr(module, "base", None), getattr(module, "dims", None)
    if base is None or dims is None:
        return None
    scale = float(getattr(module, "scale", 1.0))
    return [value / scale for value in _plain(int(dims), float(base))]


def _plain(dims: int, base: float) -> list[float]:
    return [base ** (index / dims) for index in range(0, dims, 2)]


def _expected(dims: int, base: float, scaling: Mapping[str, Any] | None, text: Mapping[str, Any]) -> list[float] | None:
    """The wavelengths that mlx-lm's own rope has for what the config declares; None where it has none."""
    # phi3 keeps the first length on top, not within its scaling; and `type` would win over `rope_type`.
    first = {key: text[key] for key in ("original_max_position_embeddings",) if text.get(key)}
    try:
        asked = {**first, **scaling, "type": scaling["rope_type"]} if scaling else None
        module = initialize_rope(dims, base, False, asked, text.get("max_position_embeddings"))
    except (ValueError, KeyError, TypeError, AssertionError):
        return None
    return wavelengths(module)


def _close(one: list[float], other: list[float]) -> bool:
    # float32 over dozens of powers; a wrong base is off by far more at the long end.
    return len(one) == len(other) and all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(one, other, strict=True))
