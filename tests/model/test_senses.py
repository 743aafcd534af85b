"""What is no language model in a config and among tensors."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_publish.model.senses import in_words, is_language, senses_in, text_alone

TOWERS = (
    "vision_tower.encoder.layers.0.weight",
    "model.visual.blocks.0.attn.qkv.weight",
    "audio_tower.conv1.weight",
    "model.embed_vision.embedding.weight",
    "multi_modal_projector.linear_1.weight",
    "mm_projector.proj.0.weight",
    "vision_model.patch_embedding.weight",
    "image_newline",
    "vpm.embeddings.weight",
    "speech_projector.weight",
)
TEXT = (
    "model.embed_tokens.weight",
    "language_model.model.layers.3.mlp.up_proj.weight",
    "lm_head.weight",
    "model.layers.0.self_attn.q_proj.weight",
    "model.layers.1.mlp.experts.0.down_proj.weight",
    "backbone.norm_f.weight",
    "model.layers.0.mixer.in_proj.weight",
)


def test_towers_are_told_from_the_language_model_by_their_names() -> None:
    assert [name for name in TOWERS if is_language(name)] == []
    assert [name for name in TEXT if not is_language(name)] == []


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"vision_config": {"a": 1}, "audio_config": {"a": 1}}, "images and audio"),
        ({"audio_config": {"a": 1}}, "audio"),
        ({"visual": {"a": 1}}, "images"),
        ({"vision_tower": "openai/clip"}, "images"),
        ({"talker_config": {"a": 1}}, "audio"),
    ],
)
def test_an_encoder_in_the_config_is_told_in_words(config: dict[str, Any], words: str) -> None:
    assert in_words(senses_in(config)) == words


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"text_config": {"a": 1}},
        {"vision_config": {}},
        {"vision_config": None},
        {"image_token_id": 3},
        {"rope_scaling": {"type": "yarn"}},
        {"quantization_config": {"bits": 4}},
        {"provision": {"a": 1}},
    ],
)
def test_a_config_of_text_alone_has_none(config: dict[str, Any]) -> None:
    assert senses_in(config) == ()


def test_the_config_of_text_alone_keeps_the_language_model_as_it_is() -> None:
    text = {"model_type": "gemma3_text", "hidden_size": 8}
    whole = {
        "model_type": "gemma3",
        "architectures": ["Gemma3ForConditionalGeneration"],
        "text_config": text,
        "vision_config": {"a": 1},
        "image_token_index": 1,
        "boi_token_index": 2,
        "mm_tokens_per_image": 256,
        "eos_token_id": [1, 106],
        "quantization": {"bits": 4},
        "tie_word_embeddings": True,
    }
    kept = {"model_type": "gemma3", "text_config": text, "eos_token_id": [1, 106], "quantization": {"bits": 4}}
    assert text_alone(whole) == {**kept, "tie_word_embeddings": True}
    plain = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8}
    assert text_alone(plain) == plain
