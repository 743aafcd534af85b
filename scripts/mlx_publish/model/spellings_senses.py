"""Spellings of config.json that mlx-vlm's classes read and transformers writes otherwise: one table.

mlx-vlm's settings take a default in silence where a key has another name or stands in another part: a rope base of one
million, a width of 2,048, tokens of an image that are not the source's. Each row adds a key where it is read; of what
is there already only the type of an encoder changes, and keys go at which a class ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlx_publish.model.draft import MODEL, Change
from mlx_publish.model.spellings import FULL, SLIDING

Part = Mapping[str, object]
_PARTS = ("text_config", "vision_config", "audio_config")


def _at(config: Part, *path: str) -> Any:
    value: Any = config
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _first(*places: str) -> Callable[[Part], Any]:
    """Take the value of the first place that has one, as `text_config.hidden_size`."""
    return lambda config: next((value for p in places if (value := _at(config, *p.split("."))) is not None), None)


def _const(value: Any) -> Callable[[Part], Any]:
    return lambda _: value


def _head_dim(config: Part) -> Any:
    hidden, heads = _at(config, "text_config", "hidden_size"), _at(config, "text_config", "num_attention_heads")
    return hidden // heads if type(hidden) is int and type(heads) is int and heads > 0 else None


def _pattern(config: Part) -> Any:
    """Return the distance of layers with full attention, where `layer_types` has such a pattern."""
    kinds = _at(config, "text_config", "layer_types")
    if not isinstance(kinds, list) or not kinds:
        return _at(config, "text_config", "_sliding_window_pattern")
    full = [number for number, kind in enumerate(kinds) if kind == FULL]
    period = full[0] + 1 if full else len(kinds) + 1
    wanted = [FULL if (number + 1) % period == 0 else SLIDING for number in range(len(kinds))]
    return period if kinds == wanted else None


def _sections(config: Part) -> Any:
    """Return the scaling of a rope that turns by time, height and width: its sections stand in `rope_parameters`."""
    rope = _at(config, "text_config", "rope_parameters")
    if not isinstance(rope, Mapping) or not isinstance(rope.get("mrope_section"), list):
        return None
    kept = {
        key: value for key, value in rope.items() if key not in ("rope_theta", "partial_rotary_factor", "rope_type")
    }
    kind = rope.get("rope_type", "default")
    return {"type": kind, "rope_type": kind, **kept}


def _merged(key: str) -> Callable[[Part], Any]:
    """Take a value of the text part for a class that reads all of it on top."""
    return lambda config: _at(config, "text_config", key)


_THETA = {"vision_config.rope_theta": _first("vision_config.rope_parameters.rope_theta")}
_GEMMA3 = {
    "hidden_size": _first("text_config.hidden_size"),
    "vocab_size": _first("text_config.vocab_size"),
    "pad_token_id": _first("text_config.pad_token_id"),
    "text_config.mm_tokens_per_image": _first("mm_tokens_per_image"),
    "text_config.rope_global_base_freq": _first(
        f"text_config.rope_parameters.{FULL}.rope_theta", "text_config.rope_theta"
    ),
    "text_config.rope_local_base_freq": _first(f"text_config.rope_parameters.{SLIDING}.rope_theta"),
    "text_config.sliding_window_pattern": _pattern,
}
_QWEN_TEXT = (
    "hidden_size",
    "num_hidden_layers",
    "intermediate_size",
    "num_attention_heads",
    "num_key_value_heads",
    "rms_norm_eps",
    "vocab_size",
    "rope_theta",
    "max_position_embeddings",
    "tie_word_embeddings",
    "head_dim",
    "hidden_act",
)
_QWEN2 = {"rope_scaling": _sections, **{key: _merged(key) for key in _QWEN_TEXT}}
_QWEN3 = {"text_config.rope_scaling": _sections, "text_config.tie_word_embeddings": _first("tie_word_embeddings")}
_GLM = {
    "hidden_size": _first("text_config.hidden_size"),
    "vocab_size": _first("text_config.vocab_size"),
    "image_token_index": _first("image_token_id"),
    "video_token_index": _first("video_token_id"),
    "vision_start_token_id": _first("image_start_token_id"),
    "vision_end_token_id": _first("image_end_token_id"),
    "text_config.rope_scaling": _sections,
}
_IDS = {"image_token_id": _first("image_token_index"), "image_token_index": _first("image_token_id")}

# By model type what mlx-vlm's settings read, by its place, and where it stands else.
MISSING: Mapping[str, Mapping[str, Callable[[Part], Any]]] = {
    "aya_vision": {"text_config.sliding_window_pattern": _pattern},
    "gemma3": _GEMMA3,
    "gemma3n": {
        "hidden_size": _first("text_config.hidden_size"),
        "vocab_size": _first("text_config.vocab_size"),
        "image_token_index": _first("image_token_id"),
        "text_config.rope_theta": _first(f"text_config.rope_parameters.{FULL}.rope_theta"),
        "text_config.rope_local_base_freq": _first(f"text_config.rope_parameters.{SLIDING}.rope_theta"),
        "text_config.sliding_window_pattern": _pattern,
    },
    "gemma4": {
        "hidden_size": _first("text_config.hidden_size"),
        "eoa_token_id": _first("eoa_token_index"),
        "text_config.global_partial_rotary_factor": _first(f"text_config.rope_parameters.{FULL}.partial_rotary_factor"),
        "text_config.sliding_window_pattern": _pattern,
    },
    "glm4v": _GLM,
    "hunyuan_vl": {
        "image_start_token_id": _first("im_start_id"),
        "image_end_token_id": _first("im_end_id"),
        "image_newline_token_id": _first("im_newline_id"),
    },
    "glm4v_moe": {**_GLM, "text_config.head_dim": _head_dim, "text_config.use_qk_norm": _const(False)},
    "idefics2": _IDS,
    "idefics3": {**_IDS, "vocab_size": _first("text_config.vocab_size")},
    "smolvlm": {**_IDS, "vocab_size": _first("text_config.vocab_size")},
    "internvl": {"text_config.head_dim": _head_dim},
    "kimi_k25": {
        "media_placeholder_token_id": _first("image_token_id"),
        "vision_config.depth": _first("vision_config.num_hidden_layers", "vision_config.vt_num_hidden_layers"),
        "vision_config.embed_dim": _first("vision_config.hidden_size", "vision_config.vt_hidden_size"),
        "vision_config.num_heads": _first("vision_config.num_attention_heads", "vision_config.vt_num_attention_heads"),
        "vision_config.intermediate_size": _first("vision_config.vt_intermediate_size"),
        "vision_config.init_pos_emb_height": _first("vision_config.pos_emb_height"),
        "vision_config.init_pos_emb_width": _first("vision_config.pos_emb_width"),
    },
    "lfm2_vl": {
        "image_token_index": _first("image_token_id"),
        "text_config.block_dim": _first("text_config.hidden_size"),
        "text_config.conv_dim": _first("text_config.hidden_size"),
        "text_config.conv_dim_out": _first("text_config.hidden_size"),
        "text_config.num_heads": _first("text_config.num_attention_heads"),
    },
    "llama4": {
        **_THETA,
        "image_token_id": _first("image_token_index"),
        "vision_config.vision_feature_layer": _first("vision_feature_layer"),
    },
    "llava": {"vocab_size": _first("text_config.vocab_size")},
    "llava_next": {"vocab_size": _first("text_config.vocab_size")},
    "llava_onevision": {"vocab_size": _first("text_config.vocab_size")},
    "mistral3": {**_THETA, **_IDS, "vocab_size": _first("text_config.vocab_size"), "text_config.head_dim": _head_dim},
    "pixtral": _IDS,
    "mllama": {
        "vision_config.num_attention_heads": _first("vision_config.attention_heads"),
        "vocab_size": _first("text_config.vocab_size"),
    },
    "paddleocr_vl": {
        "rope_scaling": _sections,
        **{key: _merged(key) for key in (*_QWEN_TEXT, "use_bias", "pad_token_id", "bos_token_id", "eos_token_id")},
    },
    "paligemma": {
        "hidden_size": _first("text_config.hidden_size"),
        "vocab_size": _first("text_config.vocab_size"),
        "text_config.hidden_activation": _first("text_config.hidden_act"),
    },
    "qwen2_vl": _QWEN2,
    "qwen2_5_vl": _QWEN2,
    "qwen3_vl": _QWEN3,
    "qwen3_vl_moe": {
        **_QWEN3,
        "text_config.num_experts": _first("text_config.num_local_experts"),
        "text_config.head_dim": _head_dim,
    },
}

# By model type the keys at which its class ends: the settings of its parts take none that they do not know.
_STRANGE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "glm_ocr": {
        "text_config": ("torch_dtype", "rope_theta", "partial_rotary_factor", "rope_scaling"),
        "vision_config": ("torch_dtype", "dtype", "rope_parameters"),
    },
}
STRICT = frozenset(_STRANGE)
"""Model types whose text part gets no older spelling."""

# Types of encoders that transformers 5 writes, by those that mlx-vlm's class takes them by.
_ENCODERS: Mapping[str, str] = {
    "hunyuan_vl_vision": "hunyuan_vl",
    "kimi_k25_vision": "moonvit",
    "paddleocr_vl_vision": "paddleocr_vl",
    "qwen2_vl_vision": "qwen2_vl",
    "qwen2_5_vl_vision": "qwen2_5_vl",
    "qwen3_vl_vision": "qwen3_vl",
    "qwen3_vl_moe_vision": "qwen3_vl_moe",
}


def add_sense_spellings(config: dict[str, Any]) -> list[Change]:
    """Write what mlx-vlm's settings read into a config, which is changed; return the changes."""
    kind = str(config.get("model_type"))
    return [*_retyped(config), *_placed(config, MISSING.get(kind, {})), *_without(config, _STRANGE.get(kind, {}))]


def _retyped(config: dict[str, Any]) -> Iterator[Change]:
    for key in ("vision_config", "audio_config"):
        part = config.get(key)
        if isinstance(part, dict) and (known := _ENCODERS.get(str(part.get("model_type")))):
            yield Change(MODEL, f"{key}.model_type", f"{key}.model_type {known}, as mlx-vlm names {part['model_type']}")
            part["model_type"] = known


def _without(config: dict[str, Any], strange: Mapping[str, tuple[str, ...]]) -> Iterator[Change]:
    for section, keys in strange.items():
        part = config.get(section)
        if not isinstance(part, dict):
            continue
        for key in keys:
            if key in part:
                del part[key]
                place = f"{section}.{key}"
                yield Change(MODEL, place, f"{place} left out, at which mlx-vlm's class ends")


def _placed(config: dict[str, Any], rules: Mapping[str, Callable[[Part], Any]]) -> Iterator[Change]:
    for place, rule in rules.items():
        *above, key = place.split(".")
        part: Any = config
        for name in above:
            part = part.get(name)
        value = rule(config)
        if isinstance(part, dict) and part.get(key) is None and value is not None:
            part[key] = value
            text = str(value)
            short = text if len(text) <= 60 else f"{text[:57]}..."
            yield Change(MODEL, place, f"{place} {short}, where mlx-vlm reads it")
