"""What the built model really computes with, beside what its source's config asks for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from mlx import nn
from mlx.utils import tree_flatten

from mlx_publish.engine.backends import backend
from mlx_publish.evidence.conversion import Hyperparameters, Mismatch, Rope
from mlx_publish.model.config import ModelConfig
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
# By model type keys that transformers ignores, or writes though they are derived.
_MEANINGLESS: Mapping[str, frozenset[str]] = {
    "gemma": frozenset({"hidden_act"}),  # always the tanh approximation of GELU
    "dbrx": frozenset({"num_key_value_heads"}),
    "phimoe": frozenset({"attention_bias"}),
}


def hyperparameters(model: nn.Module, config: ModelConfig) -> Hyperparameters:
    """Compare the instantiated model with the source's config."""
    text, known = config.text, _known(model)
    kind = str(text.get("model_type") or config.raw.get("model_type") or "")
    asked = {
        key: value
        for key, value in text.items()
        if key in SIGNIFICANT and value is not None and not _is_meaningless(key, kind, config, model)
    }
    part = (text.get("rope_parameters") or {}).get("partial_rotary_factor")
    if part is not None and text.get("partial_rotary_factor") is None:
        asked["partial_rotary_factor"] = part
    usual = _defaults(kind)
    if _turns_part(model, config, asked.get("partial_rotary_factor", 1.0)):
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
    differs |= _magnitude(model, config) | _window(model, config)
    return Hyperparameters(ignored, differs, _rope(model, config))


def _known(model: nn.Module) -> dict[str, Any]:
    """Return what the class took from the config; some keep the text part as a dict, some as an object."""
    args = getattr(model, "args", None)
    known = dict(vars(args)) if args is not None else {}
    nested = known.get("text_config")
    if nested is not None:
        known |= nested if isinstance(nested, Mapping) else vars(nested)
    return known


def _is_meaningless(key: str, model_type: str, config: ModelConfig, model: nn.Module) -> bool:
    """Tell whether a key has no meaning in this model: transformers ignores it, derives it, or the weights say it."""
    if key in _MEANINGLESS.get(model_type.removesuffix("_text"), ()):
        return True
    text = config.text
    latent = "qk_rope_head_dim" in text
    if key == "head_dim":  # transformers 5 saves what it derives, of multi-head latent attention something else
        return latent or text[key] * (text.get("num_attention_heads") or 0) == text.get("hidden_size")
    if key in ("num_key_value_heads", "no_rope_layers"):
        return (latent and key == "num_key_value_heads") or text[key] == []
    if key == "tie_word_embeddings":
        head = any(name.endswith("lm_head.weight") for name, _ in tree_flatten(model.parameters()))
        return bool(text[key]) != head
    return False


def _window(model: nn.Module, config: ModelConfig) -> dict[str, Mismatch]:
    """Return a sliding window that no layer has, by the caches: a layer with a window forgets what is outside of it."""
    text = config.text
    window = ModelConfig(text).window
    context, kinds = text.get("max_position_embeddings"), text.get("layer_types")
    if window is None or (type(context) is int and window >= context):
        return {}
    if isinstance(kinds, list) and not any("sliding" in str(kind) for kind in kinds):
        return {}
    if type(first := text.get("max_window_layers")) is int and first >= int(text.get("num_hidden_layers") or 0):
        return {}
    sizes = {getattr(cache, "max_size", None) for cache in _flat(backend().make_cache(model))}
    return {} if window in sizes else {"sliding_window": Mismatch(window, None)}


def _flat(caches: Any) -> Iterator[Any]:
    for cache in caches:
        parts = backend().parts(cache)
        yield from (cache,) if parts is None else _flat(parts)


def _defaults(model_type: str) -> dict[str, Any]:
    """Return what transformers takes for a model type where its config says nothing."""
    from transformers import CONFIG_MAPPING  # noqa: PLC0415

    try:
        defaults: dict[str, Any] = CONFIG_MAPPING[model_type]().to_dict()
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
    return defaults


def _is_same(value: object, other: object) -> bool:
    if isinstance(value, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(value, other, rel_tol=1e-6)
    return value == other


def _turns_part(model: nn.Module, config: ModelConfig, part: float) -> bool:
    """Tell whether a rope module turns this part of a head, whatever its class calls it (rotary_pct, rotary_dim)."""
    text = config.text
    heads, hidden = text.get("num_attention_heads"), text.get("hidden_size")
    size = text.get("head_dim") or (hidden // heads if heads and hidden else None)
    built = [lengths for _, module in model.named_modules() if (lengths := wavelengths(module)) is not None]
    return not built or size is None or any(2 * len(lengths) == int(size * part) for lengths in built)


def _magnitude(model: nn.Module, config: ModelConfig) -> dict[str, Mismatch]:
    """Return by what yarn and longrope multiply, where the built model does it otherwise than transformers."""
    wanted = _attention_factor(config)
    modules = [module for _, module in model.named_modules() if "RoPE" in type(module).__name__]
    built = {
        float(getattr(module, name)) for module in modules for name in ("mscale", "_scale") if hasattr(module, name)
    }
    # Some publish the factor with four digits, which is off by 3e-5.
    if wanted is None or not built or any(math.isclose(wanted, factor, rel_tol=1e-3) for factor in built):
        return {}
    return {"the attention_factor of rope": Mismatch(round(wanted, 6), round(min(built), 6))}


def _attention_factor(config: ModelConfig) -> float | None:
    """Return the factor that the config names; None where it leaves it to the class, as most that scale by yarn do.

    Longrope has the formula of transformers (modeling_rope_utils.py) where none is named.
    """
    scaling, text = declared_scaling(config.raw), config.text or config.raw
    if not scaling:
        return None
    kind = scaling["rope_type"]
    given = scaling.get("attention_factor") or (scaling.get("long_mscale") if kind == "longrope" else None)
    if given is not None or kind != "longrope":
        return float(given) if given is not None and kind in ("yarn", "longrope") else None
    first = scaling.get("original_max_position_embeddings") or text.get("original_max_position_embeddings")
    factor = scaling.get("factor") or ((text.get("max_position_embeddings") or 0) / first if first else 1.0)
    return math.sqrt(1 + math.log(factor) / math.log(first)) if first and factor > 1 else 1.0


def _rope(model: nn.Module, config: ModelConfig) -> Rope:
    """Return which declared bases and scalings of rope are in use, by the wavelengths of the built modules."""
    modules = [module for _, module in model.named_modules() if "RoPE" in type(module).__name__]
    built = [lengths for module in modules if (lengths := wavelengths(module)) is not None]
    declared, scaling = sorted(declared_thetas(config.raw)), declared_scaling(config.raw)
    missing = []
    for base in declared if built else ():
        wanted = [
            expected
            for dims in {2 * len(lengths) for lengths in built}
            if (expected := _expected(dims, base, scaling, config)) is not None
        ]
        wanted += [expected for lengths in built for expected in _by_layer(2 * len(lengths), base, config)]
        # A base of a local layer is never scaled, and a scaling that mlx-lm cannot make shows nothing.
        wanted += [_plain(2 * len(lengths), base) for lengths in built] if len(declared) > 1 or not wanted else []
        if not any(_is_close(lengths, expected) for lengths in built for expected in wanted):
            missing.append(base)
    return Rope(missing, scaling["rope_type"] if scaling else None)


def _by_layer(dims: int, base: float, config: ModelConfig) -> Iterator[list[float]]:
    """Yield the wavelengths of each rope under the name of a kind of layers, or with a base that alpha changes."""
    text = config.text or config.raw
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    for entry in (rope, *rope.values()):
        if not isinstance(entry, Mapping):
            continue
        if entry.get("rope_theta") == base and entry.get("rope_type") not in (None, "default"):
            expected = _expected(dims, base, entry, config)
            yield from () if expected is None else (expected,)
        alpha = entry.get("alpha")
        if isinstance(alpha, (int, float)) and alpha > 0 and dims > 2:  # Hunyuan folds it into the base
            yield _plain(dims, base * alpha ** (dims / (dims - 2)))


def wavelengths(module: Any) -> list[float] | None:
    """Return the reciprocal angular frequencies, (dims / 2,), of any rope module; None where it shows none."""
    if (freqs := getattr(module, "_freqs", None)) is not None:
        return [float(value) for value in freqs.tolist()]
    base, dims = getattr(module, "base", None), getattr(module, "dims", None)
    if base is None or dims is None:
        return None
    scale = float(getattr(module, "scale", 1.0))
    return [value / scale for value in _plain(int(dims), float(base))]


def _plain(dims: int, base: float) -> list[float]:
    return [base ** (index / dims) for index in range(0, dims, 2)]


def _expected(dims: int, base: float, scaling: Mapping[str, object] | None, config: ModelConfig) -> list[float] | None:
    """Return the wavelengths that mlx-lm's own rope has for what the config declares; None where it has none."""
    text = config.text or config.raw
    # phi3 keeps the first length on top, not within its scaling; and `type` would win over `rope_type`.
    first = {key: text[key] for key in ("original_max_position_embeddings",) if text.get(key)}
    try:
        asked = {**first, **scaling, "type": scaling["rope_type"]} if scaling else None
        module = backend().rope(dims, base, asked, text.get("max_position_embeddings"))
    except (ValueError, KeyError, TypeError, AssertionError):
        return None
    return wavelengths(module)


def _is_close(built: list[float], expected: list[float]) -> bool:
    # float32 over dozens of powers; a wrong base is off by far more at the long end.
    pairs = zip(built, expected, strict=False)
    return len(built) == len(expected) and all(math.isclose(a, b, rel_tol=1e-3) for a, b in pairs)
