"""Tokens in a prompt that stand for a picture or a sound, by the ids of config.json and by their texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

PLACES = re.compile(r"(image|video|audio|media_placeholder)_token_(id|index)")
"""Keys of config.json with the id of what is replaced by what an encoder makes."""
BORDERS = re.compile(r"(boi|eoi|boa|eoa|vision_start|vision_end|image_start|image_end)_token_(id|index)")
"""Keys with the ids of what begins and ends it."""
# The texts by model type: a family has one, whatever its ids are.
_TEXTS: Mapping[str, tuple[str, ...]] = {
    "aya_vision": ("<|IMG_PATCH|>",),
    "cohere2_vision": ("<|IMG_PATCH|>",),
    "gemma3": ("<image_soft_token>",),
    "gemma3n": ("<image_soft_token>",),
    "gemma4": ("<|image|>",),
    "idefics2": ("<image>",),
    "idefics3": ("<image>",),
    "smolvlm": ("<image>",),
    "internvl": ("<IMG_CONTEXT>",),
    "lfm2_vl": ("<image>",),
    "llama4": ("<|patch|>",),
    "llava": ("<image>",),
    "llava_next": ("<image>",),
    "llava_onevision": ("<image>",),
    "mistral3": ("[IMG]",),
    "paddleocr_vl": ("<|IMAGE_PLACEHOLDER|>",),
    "paligemma": ("<image>",),
    "qwen2_vl": ("<|image_pad|>",),
    "qwen2_5_vl": ("<|image_pad|>",),
    "qwen3_vl": ("<|image_pad|>",),
    "qwen3_vl_moe": ("<|image_pad|>",),
    "qwen3_5": ("<|image_pad|>",),
    "qwen3_5_moe": ("<|image_pad|>",),
    "mllama": ("<|image|>",),
    "glm4v": ("<|image|>",),
    "glm4v_moe": ("<|image|>",),
    "kimi_k25": ("<|media_pad|>",),
}


def ids_of(config: Mapping[str, object], keys: re.Pattern[str]) -> Iterator[tuple[str, int]]:
    """Yield the ids that a config names, by their keys."""
    for key, value in config.items():
        if keys.fullmatch(key) and type(value) is int:
            yield key, value


def no_ids(config: Mapping[str, object]) -> list[str]:
    """Return the keys of ids whose value is none, as a text."""
    keys = (key for key in config if PLACES.fullmatch(key) or BORDERS.fullmatch(key))
    return [key for key in keys if config[key] is not None and type(config[key]) is not int]


def ends_of(config: Mapping[str, object]) -> frozenset[int]:
    """Return the ids at which an answer ends, of the whole model and of its language model."""
    text = config.get("text_config")
    said = [part.get("eos_token_id") for part in (config, text) if isinstance(part, Mapping)]
    each = [one for value in said for one in (value if isinstance(value, list) else [value])]
    return frozenset(one for one in each if type(one) is int)


def text_of(config: Mapping[str, object], *said: Mapping[str, object]) -> tuple[str, ...]:
    """Return the texts that may stand for an image: those of the family, else that of the processor's files.

    What a processor calls `image_token` is in some families what a user writes, and not what an encoder replaces.
    """
    if texts := _TEXTS.get(str(config.get("model_type"))):
        return texts
    return tuple(text for settings in said if isinstance(text := settings.get("image_token"), str) and text)
