"""Which key of a config is to blame: for each that matters, a value that takes its effect away.

Where the twin of a config differs between transformers and mlx-lm, and no longer does once both are given the neutral
value of one key, that key is what mlx-lm computes otherwise.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlx_publish.torch_check.shrink import text_part
from mlx_publish.torch_check.towers import PICTURES, TOWERS

Path = tuple[str, ...]
_FAR = 100_000
_ROPES = ("rope_parameters", "rope_scaling")
# Boundaries and what else depends on positions.
_POSITIONS: Mapping[str, tuple[Any, ...]] = {
    "sliding_window": (None, _FAR), "use_sliding_window": (False,), "attention_window_size": (_FAR,),
    "sliding_window_size": (_FAR,), "attention_chunk_size": (_FAR,), "index_topk": (_FAR,),
    "attn_temperature_tuning": (False,),
    "no_rope_layers": ("ones",), "layer_types": ("full",), "use_nope": (False,), "position_embedding_type": ("rope",),
}  # fmt: skip
_ROPE_KEYS = (
    "truncate", "attention_factor", "llama_4_scaling_beta", "mscale", "mscale_all_dim", "beta_fast", "beta_slow",
    "short_mscale", "long_mscale", "partial_rotary_factor", "alpha", "low_freq_factor", "high_freq_factor",
)  # fmt: skip
# Numbers that are multiplied with, caps, and what is done where.
_FACTORS = (
    "attention_multiplier", "embedding_multiplier", "residual_multiplier", "logits_scaling", "logit_scale",
    "key_multiplier", "lm_head_multiplier", "attention_in_multiplier", "attention_out_multiplier", "ssm_in_multiplier",
    "ssm_out_multiplier", "mlp_multipliers", "ssm_multipliers", "routed_scaling_factor", "scale_emb", "scale_depth",
    "attention_value_scale", "output_multiplier", "qk_scale_factor", "moe_routed_scaling_factor", "router_scaling",
)  # fmt: skip
_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "attn_logit_softcapping": (None,), "final_logit_softcapping": (None,), "router_logit_softcapping": (0.0, None),
    "clip_qkv": (None,), "swiglu_limit": (None, 1e6), "norm_topk_prob": (True, False), "moe_renormalize": (True, False),
    "n_group": (1,), "scoring_func": ("softmax", "sigmoid"), "query_pre_attn_scalar": ("head_dim",),
    "attention_bias": (False, True), "mlp_bias": (False,), "use_bias": (False,), "qkv_bias": (False,),
    "use_qkv_bias": (False,), "use_qk_norm": (False, True), "qk_layernorm": (False,),
    "tie_word_embeddings": (True, False),
    "parallel_attn": (False, True), "use_parallel_residual": (False, True), "rope_interleave": (True, False),
    "time_step_limit": ([0.0, float("inf")],), "time_step_min": (0.0,), "time_step_floor": (0.0,),
    "time_step_max": (1e6,),
    "attention_k_eq_v": (False,), "use_double_wide_mlp": (False,), "enable_moe_block": (False,), "alibi": (False,),
    "scale_attn_by_inverse_layer_idx": (False,), "scale_attn_weights": (True,), "num_kv_shared_layers": (0,),
    "norm_before_gate": (False,), "mamba_rms_norm": (False,), "rescale_prenorm_residual": (False,), "expand": (2,),
    "n_groups": (1,), "mamba_n_groups": (1,), "num_experts_per_tok": ("all",), "moe_k": ("all",),
    "topk_method": ("greedy",),
    "use_conv_bias": (True, False), "mamba_conv_bias": (True, False), "mamba_proj_bias": (False,),
    "hidden_act_moe": ("silu",),
}  # fmt: skip
_ACTIVATIONS = ("hidden_act", "hidden_activation", "activation_function", "mlp_hidden_act")
_GATES = ("silu", "gelu_pytorch_tanh", "gelu", "relu2")
_EPSILONS = ("rms_norm_eps", "layer_norm_eps", "norm_eps", "layer_norm_epsilon", "layernorm_epsilon", "norm_epsilon")
_THETAS = ("rope_theta", "rope_local_base_freq", "rotary_emb_base", "global_rope_theta", "local_rope_theta")
_FEATURES: Mapping[str, tuple[Any, ...]] = {
    "vision_feature_layer": (-1, -2),
    "vision_feature_select_strategy": ("default", "full"),
}
_TOWER_SIZES: Mapping[str, tuple[int, ...]] = {
    "spatial_merge_size": (2, 1),
    "window_size": (_FAR,),
    "temporal_patch_size": (2, 1),
    "pooling_kernel_size": (3, 2),
}
# What only sizes, or says nothing of the mathematics.
_NOT_MATHEMATICS = (
    "model_type", "architectures", "vocab_size", "transformers_version", "torch_dtype", "dtype", "use_cache",
    "initializer_range", "is_encoder_decoder", "max_position_embeddings", "id2label", "label2id", "problem_type",
    "chunk_size_feed_forward", "return_dict", "output_attentions", "output_hidden_states", "attention_dropout",
)  # fmt: skip


@dataclass(frozen=True)
class Candidate:
    """A key, as `text_config.sliding_window`, and the config in which it has no effect."""

    key: str
    value: object
    config: Mapping[str, object]


def candidates(config: Mapping[str, object], at_boundary: str = "") -> list[Candidate]:
    """Return all candidates for a small config, the likeliest first; `at_boundary` is the key of a boundary met."""
    every = [
        Candidate(".".join(path), value, changed)
        for path, value in _changes(config)
        if (changed := _with(config, path, value)) is not None
    ]
    last = at_boundary.rpartition(".")[2]
    return sorted(every, key=lambda candidate: candidate.key.rpartition(".")[2] != last) if last else every


def picture_candidates(config: Mapping[str, object]) -> list[Candidate]:
    """Return all candidates of what sees, and of what joins it to the language model, the likeliest first."""
    whole = copy.deepcopy(dict(config))
    changes: list[tuple[Path, object]] = []
    for key, value in whole.items():
        if isinstance(value, str) and re.fullmatch(r"\w*hidden_act|\w*activation\w*", key):
            changes += [((key,), other) for other in _GATES if other != value]
        elif isinstance(value, bool) and re.search(r"project|vision|image|multimodal|pixel", key):
            changes.append(((key,), not value))
        elif key in _FEATURES:
            changes += [((key,), other) for other in _FEATURES[key] if other != value]
    for key in PICTURES:
        if isinstance(tower := whole.get(key), Mapping):
            changes += [((key, *path), value) for path, value in _of_a_tower(tower)]
    return [
        Candidate(".".join(path), value, changed)
        for path, value in changes
        if (changed := _with(config, path, value)) is not None
    ]


def _of_a_tower(tower: Mapping[str, object]) -> Iterator[tuple[Path, object]]:
    """Yield activations, epsilons, bases, merges, windows, switches and numbers of a tower."""
    for key, value in tower.items():
        if isinstance(value, Mapping):
            yield from (((key, *path), other) for path, other in _of_a_tower(value))
        elif isinstance(value, str) and re.fullmatch(r"\w*act\w*", key):
            yield from (((key,), other) for other in (*_GATES, "quick_gelu") if other != value)
        elif isinstance(value, bool):
            yield (key,), not value
        elif key in _THETAS and value != 10_000.0:
            yield (key,), 10_000.0
        elif isinstance(value, float):
            yield from (((key,), other) for other in ((1e-5, 1e-6) if "eps" in key else (1.0, 0.5)) if other != value)
        elif key in _TOWER_SIZES and type(value) is int:
            yield from (((key,), other) for other in _TOWER_SIZES[key] if other != value)
        elif isinstance(value, list) and re.fullmatch(r"\w*(indexes|indices)", key) and value:
            yield (key,), []
            yield (key,), [0, 1]


def culprit(
    tried: Sequence[Candidate], agree: Callable[[Sequence[Candidate]], Sequence[bool]], at_once: int
) -> Candidate | None:
    """Return the first candidate with which both sides agree, some at a time; None if no single key is to blame."""
    for start in range(0, len(tried), at_once):
        some = tried[start : start + at_once]
        for candidate, same in zip(some, agree(some), strict=True):
            if same:
                return candidate
    return None


def _changes(config: Mapping[str, object]) -> Iterator[tuple[Path, object]]:
    whole = copy.deepcopy(dict(config))
    text = text_part(whole)
    prefix = _path_to(whole, text)
    for key, values in _POSITIONS.items():
        for value in values if text.get(key) is not None else ():
            yield (*prefix, key), _listed(value, text[key])
    yield from _ropes(text, prefix)
    yield from _numbers(text, prefix)
    yield from _others(text, prefix)


def _numbers(text: Mapping[str, object], prefix: Path) -> Iterator[tuple[Path, object]]:
    """Yield factors, caps, choices, activations and epsilons that are known by name."""
    # With all experts chosen, it does not matter how their weights are normalised.
    names = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
    experts = next((text[name] for name in names if type(text.get(name)) is int), 1)
    derived = {"head_dim": _head_dim(text), "all": experts}
    for key in _FACTORS:
        if (factor := text.get(key)) is not None:
            yield (*prefix, key), [1.0] * len(factor) if isinstance(factor, list) else 1.0
    for key, values in _CHOICES.items():
        for value in values if key in text else ():
            yield (*prefix, key), derived[value] if isinstance(value, str) and value in derived else value
    yield from _curves(text, prefix)


def _curves(text: Mapping[str, object], prefix: Path) -> Iterator[tuple[Path, object]]:
    """Yield activations, epsilons and bases."""
    for key in (key for key in _ACTIVATIONS if text.get(key)):
        for value in _GATES:
            yield (*prefix, key), value
    yield (*prefix, "partial_rotary_factor"), 1.0  # by default some turn a part although the config says nothing of it
    for key in (key for key in (*_EPSILONS, *_THETAS) if text.get(key) is not None):
        for number in (10_000.0,) if key in _THETAS else (1e-5, 1e-6):
            yield (*prefix, key), number


def _head_dim(text: Mapping[str, object]) -> object:
    hidden, heads = text.get("hidden_size"), text.get("num_attention_heads")
    if isinstance(hidden, int) and isinstance(heads, int) and heads > 0:
        return text.get("head_dim") or hidden // heads
    return text.get("head_dim") or 1


def _listed(value: object, now: object) -> object:
    if value == "ones":
        return [1] * len(now) if isinstance(now, list) else now
    if value == "full":
        sliding = ("sliding_attention", "chunked_attention")
        return ["full_attention" if kind in sliding else kind for kind in now] if isinstance(now, list) else now
    return value


def _ropes(text: Mapping[str, object], prefix: Path) -> Iterator[tuple[Path, object]]:
    """Yield single keys of a scaling, then the scaling as a whole, then the base."""
    for where in _ROPES:
        rope = text.get(where)
        if not isinstance(rope, Mapping):
            continue
        layered = [name for name, value in rope.items() if isinstance(value, Mapping)]
        for name in layered or [""]:
            below = (name,) if name else ()
            own = rope[name] if name else rope
            for key in (key for key in _ROPE_KEYS if own.get(key) is not None):
                yield (*prefix, where, *below, key), 1.0 if key == "partial_rotary_factor" else None
            if "short_factor" in own and "long_factor" in own:
                yield (*prefix, where, *below, "short_factor"), own["long_factor"]
            plain = {key: own[key] for key in ("rope_theta", "partial_rotary_factor") if key in own}
            yield (*prefix, where, *below), {**plain, "rope_type": "default"} if plain or where == _ROPES[0] else None
            if own.get("rope_theta") is not None:
                yield (*prefix, where, *below, "rope_theta"), 10_000.0


def _others(text: Mapping[str, object], prefix: Path) -> Iterator[tuple[Path, object]]:
    """Yield switches and numbers that no list above names: a switch the other way, a number that changes nothing.

    Settings in a dict of their own, as DBRX has them, are looked through too.
    """
    for key, value in text.items():
        if isinstance(value, Mapping) and key not in (*_ROPES, *TOWERS):
            yield from _numbers(value, (*prefix, key))
            yield from _others(value, (*prefix, key))
    known = {*_POSITIONS, *_FACTORS, *_CHOICES, *_ACTIVATIONS, *_EPSILONS, *_THETAS, *_ROPES, *_NOT_MATHEMATICS}
    for key, value in text.items():
        if key in known or key.endswith(("_token_id", "_token_index")):
            continue
        if isinstance(value, bool):
            yield (*prefix, key), not value
        elif isinstance(value, float):
            yield (*prefix, key), 1.0
            yield (*prefix, key), 0.0


def _path_to(whole: Mapping[str, object], part: Mapping[str, object]) -> Path:
    if whole is part:
        return ()
    for key, value in whole.items():
        if isinstance(value, Mapping) and (value is part or text_part(dict(value)) is part):
            return (key, *_path_to(value, part))
    return ()


def _with(config: Mapping[str, object], path: Path, value: object) -> Mapping[str, object] | None:
    """Return the config with another value; None if it has that already."""
    changed = copy.deepcopy(dict(config))
    place: Any = changed
    for key in path[:-1]:
        place = place[key]
    if place.get(path[-1]) == value:
        return None
    if value is None and path[-2:-1] and path[-2] not in ("text_config",):
        place.pop(path[-1])
    else:
        place[path[-1]] = value
    if path[-1] == "n_group" and "topk_group" in place:
        place["topk_group"] = 1
    return changed
