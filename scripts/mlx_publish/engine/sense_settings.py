"""What the settings of a class of mlx-vlm hold, beside what transformers makes of the same config.json.

`from_dict` of mlx-vlm takes the keys that it knows and its own defaults for all others: an encoder would be built, and
fed, by numbers that are not the source's, without a word.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mlx_publish.evidence.conversion import Mismatch

SECTIONS = ("", "text_config", "vision_config", "audio_config", "perceiver_config", "projector_config")
Config = dict[str, Any]
# What changes the computation of an encoder or of what joins it to the language model.
SIGNIFICANT = re.compile(
    r"attention_bias|attention_chunk_size|attention_context_left|attention_context_right|attention_logit_cap|"
    r"conv_kernel_size|d_model|deepstack_visual_indexes|default_output_length|depth|downsample_factor|"
    r"downsample_ratio|embed_dim|encoder_attention_heads|encoder_ffn_dim|encoder_layers|fullatt_block_indexes|"
    r"global_head_dim|head_dim|hidden_act|hidden_activation|hidden_size|image_size|in_channels|in_chans|"
    r"intermediate_layers_indices|intermediate_size|layer_norm_eps|layer_scale_init_value|max_num_tiles|"
    r"mlp_ratio|mm_tokens_per_image|multi_modal_projector_bias|multimodal_projector_bias|norm_eps|norm_type|"
    r"num_attention_heads|num_channels|num_global_layers|num_heads|num_hidden_layers|num_key_value_heads|"
    r"num_mel_bins|num_position_embeddings|out_hidden_size|output_proj_dims|patch_size|pixel_shuffle_ratio|"
    r"pooling_kernel_size|position_embedding_size|projector_bias|projector_hidden_act|projector_hidden_size|"
    r"projector_use_layernorm|qk_normalization|qkv_bias|residual_weight|rms_norm_eps|rope_theta|scale_factor|"
    r"spatial_merge_size|spatial_patch_size|standardize|subsampling_conv_channels|supported_aspect_ratios|"
    r"temporal_patch_size|use_clipped_linears|use_mean_pooling|use_qk_norm|vision_feature_layer|"
    r"vision_feature_select_strategy|window_size"
)
_IDS = (
    "image_token_id",
    "image_token_index",
    "video_token_id",
    "audio_token_id",
    "vision_start_token_id",
    "boi_token_index",
    "eoi_token_index",
    "pad_token_id",
)
_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "num_attention_heads": ("num_heads", "attention_heads", "heads"),
    "num_hidden_layers": ("depth", "layers"),
    "hidden_size": ("embed_dim", "width"),
    "in_channels": ("num_channels", "in_chans"),
    "in_chans": ("num_channels", "in_channels"),
    "multi_modal_projector_bias": ("multimodal_projector_bias",),
    "num_channels": ("in_channels", "in_chans"),
}
"""By a key the names that another family has for it."""
_WRITTEN_FOR: Mapping[str, Mapping[str, object]] = {
    "mistral3": {"vision_config.hidden_act": "silu"},
    "pixtral": {"vision_config.hidden_act": "silu"},
}
"""By model type what a class always computes, where that is not what transformers takes by itself."""


def whole(config: Mapping[str, object]) -> Config:
    """Return the config with the defaults that transformers fills in; empty where it has no class, or fails on it."""
    from transformers import CONFIG_MAPPING  # noqa: PLC0415

    try:
        filled: Config = CONFIG_MAPPING[str(config.get("model_type"))].from_dict(copy.deepcopy(dict(config))).to_dict()
    except Exception:  # noqa: BLE001  a stranger's config breaks it in any way
        return {}
    for section in SECTIONS:  # transformers 5 has the base of rope there alone
        own, theta = filled.get(section) if section else filled, part(part(filled, section), "rope_parameters")
        if isinstance(own, dict) and isinstance(theta.get("rope_theta"), (int, float)):
            own.setdefault("rope_theta", theta["rope_theta"])
    return filled


def part(config: Mapping[str, object], section: str) -> Mapping[str, object]:
    """Return a part of a config; the whole one for an empty name."""
    value = config.get(section) if section else config
    return value if isinstance(value, Mapping) else {}


def held(settings: Any, section: str) -> Mapping[str, object]:
    """Return what the settings of a class hold of a part; empty where there is none."""
    own = getattr(settings, section, None) if section else settings
    if own is None or isinstance(own, Mapping):
        return own or {}
    return {key: value for key, value in vars(own).items() if not key.startswith("_")}


def lacking(config: Mapping[str, object], settings: Any) -> Iterator[tuple[str, str, Any]]:
    """Yield the part, the key and the value of what transformers fills in and the settings take otherwise."""
    filled = whole(config)
    for section in SECTIONS if filled else ():
        given, theirs, ours = part(config, section), part(filled, section), held(settings, section)
        if section and not given:
            continue
        for key, value in theirs.items():
            if _counts(key, value) and given.get(key) is None and key in ours and not same(value, ours[key]):
                yield section, key, value


def completed(config: Config, factory: Any) -> Config:
    """Return a config with what transformers takes where it says nothing, and its class would take otherwise."""
    filled = copy.deepcopy(config)
    try:
        absent = list(lacking(config, factory.from_dict(copy.deepcopy(config))))
    except TypeError:  # a key without a default is missing
        absent = list(_absent(config))
    for section, key, value in absent:
        target = filled.get(section) if section else filled
        if isinstance(target, dict):
            target[key] = value
    return filled


def _absent(config: Mapping[str, object]) -> Iterator[tuple[str, str, Any]]:
    """Yield the part, the key and the value of all that transformers fills into the parts that a config has."""
    theirs = whole(config)
    for section in SECTIONS[1:]:
        given = part(config, section)
        for key, value in part(theirs, section).items() if given else ():
            if _counts(key, value) and given.get(key) is None:
                yield section, key, value


def filled_in(raw: Mapping[str, object], settings: Any) -> dict[str, object]:
    """Return by place what a source's config does not say, and its class would take its own default for."""
    added: dict[str, object] = {}
    theirs = whole(raw)
    for section in SECTIONS if theirs else ():
        own, given = getattr(settings, section, None) if section else settings, part(raw, section)
        fields = getattr(type(own), "__dataclass_fields__", {})
        for key, value in part(theirs, section).items():
            ours = held(settings, section).get(key)
            written = key in fields and given.get(key) is None and _counts(key, value) and same(value, ours)
            if written and (given or not section) and not same(value, fields[key].default):
                added[f"{section}.{key}" if section else key] = value
    return added


def _counts(key: str, value: object) -> bool:
    """Return whether a key changes the computation, and its value can be written into a config as it is."""
    wanted = SIGNIFICANT.fullmatch(key) is not None or key in _IDS or key in ("rope_theta", "vocab_size")
    return wanted and isinstance(value, (bool, int, float, str))


def differences(raw: Mapping[str, object], settings: Any) -> tuple[dict[str, object], dict[str, Mismatch]]:
    """Return what the source says of encoders and projectors that no setting holds, and what is held otherwise."""
    ignored: dict[str, object] = {}
    differs: dict[str, Mismatch] = {}
    usual, built_in = _usual(raw), _WRITTEN_FOR.get(str(raw.get("model_type")), {})
    for section in SECTIONS:
        if section == "text_config":
            continue
        ours = held(settings, section)
        for key, value in part(raw, section).items():
            place = f"{section}.{key}" if section else key
            if not SIGNIFICANT.fullmatch(key) or value is None or not ours or (not section and _of_text(key, raw)):
                continue
            names = [name for name in (key, *_OTHER_NAMES.get(key, ())) if name in ours]
            if not names:
                default = built_in.get(place, part(usual, section).get(key, value))
                if not same(value, default):
                    ignored[place] = value
            elif not any(same(value, ours[name]) for name in names):
                differs[place] = Mismatch(value, ours[names[0]])
        for section_, key, value in lacking(raw, settings) if section else ():
            if section_ == section and key in ours:
                differs.setdefault(f"{section}.{key}", Mismatch(value, ours[key]))
    return ignored, differs


def _of_text(key: str, raw: Mapping[str, object]) -> bool:
    """Return whether a key on top is one of the text part's, as in the configs of Qwen2-VL."""
    return key in part(raw, "text_config") or not part(raw, "text_config")


def _usual(raw: Mapping[str, object]) -> Config:
    """Return what transformers takes for a type, and for each of its parts, where a config says nothing."""
    from transformers import CONFIG_MAPPING  # noqa: PLC0415

    def default(kind: object) -> Config:
        try:
            made: Config = CONFIG_MAPPING[str(kind)]().to_dict()
        except Exception:  # noqa: BLE001  no such type, or one that cannot do without values
            return {}
        return made

    usual = default(raw.get("model_type"))
    for section in SECTIONS[1:]:
        if own := default(part(raw, section).get("model_type")):
            usual[section] = own
    return usual


def same(value: object, other: object) -> bool:
    """Return whether two values mean the same: numbers within rounding, lists and tuples, one number for both sides."""
    if isinstance(value, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(value, other, rel_tol=1e-6)
    if isinstance(value, (list, tuple)) and isinstance(other, (int, float)):
        return all(same(item, other) for item in value)
    if isinstance(other, (list, tuple)) and isinstance(value, (int, float)):
        return all(same(item, value) for item in other)
    if isinstance(value, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(value) == len(other) and all(map(same, value, other))
    return value == other
