"""What the cache of keys and values of a model takes, by its config alone: before there is a model to ask.

A layer of a kind that is not known here counts as one of full attention: with a long text that is more than it takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlx_publish.evidence.speed import CacheSize
from mlx_publish.model.config import ModelConfig
from mlx_publish.model.spellings import LINEAR, SLIDING

_NUMBER = 2
"""Bytes of a number in the cache."""
_STATE = 4
"""Bytes of a number of a recurrent state, at most."""
_CONVOLUTION = "conv"
_ALL_SEEING = ("qwen2", "qwen3", "qwen2_moe", "qwen3_moe")
"""Types whose class in mlx-lm has no sliding window, whatever the config says."""
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HEADS = ("num_attention_heads", "n_head", "n_heads")
_KEY_HEADS = ("num_key_value_heads", "n_head_kv", "num_kv_heads", "multi_query_group_num")
_WIDTHS = ("hidden_size", "n_embd", "d_model", "dim")


def cache_of(config: ModelConfig) -> CacheSize | None:
    """Return what the cache takes; None where the config names no layers or heads."""
    text = config.text
    layers, each = _number(text, _LAYERS), _per_layer(text)
    if layers is None or each is None:
        return None
    kinds = _kinds(text, layers)
    window = 0 if config.model_type in _ALL_SEEING else config.window or 0
    sliding = kinds.count(SLIDING) if window else 0
    states = {kind: size for kind in set(kinds) if (size := _state(text, kind)) is not None}
    fixed = sum(kinds.count(kind) * size for kind, size in states.items())
    full = layers - sliding - sum(kinds.count(kind) for kind in states)
    return CacheSize(full * each, sliding * each, window if sliding else 0, fixed)


def _per_layer(text: Mapping[str, object]) -> int | None:
    """Return the bytes that a token takes in a layer of attention."""
    if latent := _number(text, ("kv_lora_rank",)):  # latent attention keeps what keys and values are made of
        return _NUMBER * (latent + (_number(text, ("qk_rope_head_dim",)) or 0))
    heads, width = _number(text, _HEADS), _number(text, _WIDTHS)
    keys = _number(text, _KEY_HEADS) or heads
    of_head = max((_number(text, (key,)) or 0 for key in ("head_dim", "global_head_dim")), default=0)
    if not of_head and heads and width:
        of_head = width // heads
    return 2 * _NUMBER * keys * of_head if keys and of_head else None


def _kinds(text: Mapping[str, object], layers: int) -> Sequence[str]:
    """Return the kind of each layer, as far as the config says it."""
    named = text.get("layer_types")
    if isinstance(named, Sequence) and not isinstance(named, str) and len(named) == layers:
        return [str(kind) for kind in named]
    every = _number(text, ("sliding_window_pattern",))  # of each so many layers, the last one sees everything
    return ["" if (layer + 1) % every == 0 else SLIDING for layer in range(layers)] if every else [""] * layers


def _state(text: Mapping[str, object], kind: str) -> int | None:
    """Return the bytes of a layer that keeps a state in place of keys and values; None for one of attention."""
    if kind == _CONVOLUTION and (width := _number(text, _WIDTHS)):
        return _NUMBER * width * (_number(text, ("conv_L_cache",)) or 0)
    names = ("key_heads", "value_heads")
    heads = [_number(text, (f"linear_num_{name}",)) or 0 for name in names]
    dims = [_number(text, (f"linear_{name}_dim",)) or 0 for name in ("key_head", "value_head")]
    if kind != LINEAR or not all((*heads, *dims)):
        return None
    kernel = _number(text, ("linear_conv_kernel_dim",)) or 0
    convolved = 2 * heads[0] * dims[0] + heads[1] * dims[1]
    return _STATE * heads[1] * dims[0] * dims[1] + _NUMBER * convolved * kernel


def _number(text: Mapping[str, object], keys: Sequence[str]) -> int | None:
    """Return the first of the keys that has a positive whole number."""
    values = (text.get(key) for key in keys)
    return next((value for value in values if isinstance(value, int) and type(value) is int and value > 0), None)
