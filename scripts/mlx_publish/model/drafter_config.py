"""config.json of a drafter, and what the config of its model has to say for mlx-vlm to load it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from mlx_publish.model.drafters import LETTERS, Drafter, pattern_of

Config = dict[str, Any]
_QUANTIZED = ("quantization", "quantization_config", "auto_map")


def drafter_config(drafter: Drafter, config: Mapping[str, object], bits: int | None, group_size: int) -> Config:
    """Return config.json of a drafter; `config` is that of its model as mlx-lm reads it."""
    whole, _ = for_mlx_vlm(config)
    text = {key: value for key, value in _text(whole).items() if key not in _QUANTIZED}
    tied = text.get("tie_word_embeddings", whole.get("tie_word_embeddings", drafter.tied))
    own: Config = {
        "block_size": drafter.block_size,
        "model_type": drafter.model_type,
        "text_config": text,
        "tie_word_embeddings": bool(tied),
    }
    if bits:
        block = {"group_size": group_size, "bits": bits, "mode": "affine"}
        own |= {"quantization": block, "quantization_config": block}
    return dict(sorted(own.items()))


def for_mlx_vlm(config: Mapping[str, object]) -> tuple[Config, str]:
    """Return a model's config with what mlx-vlm 0.7 asks for and mlx-lm does not, and what was added, in words.

    Neither changes what is computed of text: the sections of a rotary embedding are for images, and a pattern of layers
    says in letters what `layers_block_type` says in words.
    """
    made: Config = copy.deepcopy(dict(config))
    text = _text(made)
    if str(made.get("model_type")).startswith("qwen3_5"):
        return made, _with_sections(text)
    if made.get("model_type") == "nemotron_h":
        return made, _with_letters(text)
    return made, ""


def _text(config: Config) -> Config:
    nested = config.get("text_config")
    return nested if isinstance(nested, dict) else config


def _with_sections(text: Config) -> str:
    rope, head = text.get("rope_parameters"), text.get("head_dim")
    if not isinstance(rope, dict) or "mrope_section" in rope or not isinstance(head, int):
        return ""
    share = rope.setdefault("partial_rotary_factor", text.get("partial_rotary_factor", 0.25))
    if not isinstance(share, (int, float)):
        return ""
    rope["mrope_section"] = [int(head * share) // 2, 0, 0]
    return f"rope_parameters.mrope_section {rope['mrope_section']}"


def _with_letters(text: Config) -> str:
    words = text.get("layers_block_type")
    if text.get("hybrid_override_pattern") or not isinstance(words, list):
        return ""
    letters = "".join(LETTERS.get(str(word), "") for word in words)
    if len(letters) != len(words):
        return ""
    text["hybrid_override_pattern"] = letters
    text["mtp_hybrid_override_pattern"] = pattern_of(text)
    return f"hybrid_override_pattern {letters[:80]}"
