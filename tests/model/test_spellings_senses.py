"""What transformers writes where mlx-vlm does not look is written where it does."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_publish.model.normalise import normalise_config

FULL, SLIDING = "full_attention", "sliding_attention"
ROPES = {FULL: {"rope_theta": 5e5}, SLIDING: {"rope_theta": 2e4}}


def at(config: dict[str, Any], place: str) -> Any:
    for key in place.split("."):
        config = config[key]
    return config


@pytest.mark.parametrize(
    ("kind", "config", "place", "wanted"),
    [
        ("gemma3", {"mm_tokens_per_image": 64}, "text_config.mm_tokens_per_image", 64),
        ("gemma3", {}, "hidden_size", 96),
        ("gemma3", {"text_config": {"rope_parameters": ROPES}}, "text_config.rope_global_base_freq", 5e5),
        ("gemma3", {"text_config": {"rope_parameters": ROPES}}, "text_config.rope_local_base_freq", 2e4),
        ("gemma3", {"text_config": {"layer_types": [SLIDING, FULL] * 2}}, "text_config.sliding_window_pattern", 2),
        ("idefics3", {"image_token_id": 7}, "image_token_index", 7),
        ("mistral3", {"image_token_index": 7}, "image_token_id", 7),
        (
            "mistral3",
            {"vision_config": {"rope_parameters": {"rope_theta": 9.0}}},
            "vision_config.rope_theta",
            9.0,
        ),
        ("internvl", {}, "text_config.head_dim", 24),
        ("qwen2_vl", {}, "hidden_size", 96),
        (
            "qwen3_vl",
            {"text_config": {"rope_parameters": {"rope_theta": 1.0, "mrope_section": [2, 1, 1]}}},
            "text_config.rope_scaling.mrope_section",
            [2, 1, 1],
        ),
        ("qwen3_vl", {"vision_config": {"model_type": "qwen3_vl_vision"}}, "vision_config.model_type", "qwen3_vl"),
        ("mllama", {"vision_config": {"attention_heads": 3}}, "vision_config.num_attention_heads", 3),
        ("gemma4", {"eoa_token_index": 5}, "eoa_token_id", 5),
    ],
)
def test_a_key_is_written_where_mlx_vlm_reads_it(kind: str, config: dict[str, Any], place: str, wanted: object) -> None:
    sizes = {"hidden_size": 96, "num_attention_heads": 4, "vocab_size": 50}
    whole = {"model_type": kind, "vision_config": {}, **config}
    whole["text_config"] = {**sizes, **config.get("text_config", {})}
    normal, changes = normalise_config(whole, senses=True)
    assert at(normal, place) == wanted
    beginning = ".".join(place.split(".")[:2])
    assert any(change.key.startswith(beginning) for change in changes)
    assert normalise_config(normal, senses=True) == (normal, [])


def test_what_is_there_stays() -> None:
    config = {
        "model_type": "gemma3",
        "hidden_size": 7,
        "vocab_size": 9,
        "mm_tokens_per_image": 64,
        "text_config": {"hidden_size": 96, "vocab_size": 50, "mm_tokens_per_image": 16},
    }
    assert normalise_config(config, senses=True)[0] == config


def test_a_name_that_mlx_lm_alone_has_is_not_given_to_mlx_vlm() -> None:
    config = {"model_type": "lfm2_vl", "text_config": {}}
    assert normalise_config(config, senses=True)[0]["model_type"] == "lfm2_vl"
    assert normalise_config(config)[0]["model_type"] == "lfm2-vl"


@pytest.mark.parametrize("value", [None, [], "text", 3])
def test_a_part_that_is_no_object_breaks_nothing(value: object) -> None:
    for kind in ("gemma3", "qwen3_vl", "qwen2_vl", "llama4", "internvl", "glm4v"):
        normalise_config({"model_type": kind, "text_config": value, "vision_config": value}, senses=True)


GLM_OCR: dict[str, Any] = {
    "model_type": "glm_ocr",
    "text_config": {
        "model_type": "glm_ocr_text",
        "dtype": "bfloat16",
        "rope_parameters": {"rope_theta": 1e4, "rope_type": "default", "partial_rotary_factor": 1.0},
    },
    "vision_config": {"dtype": "bfloat16", "rope_parameters": {"rope_theta": 1e4}, "depth": 2},
}


def test_settings_that_end_at_a_key_they_do_not_know_get_none() -> None:
    normal, changes = normalise_config(GLM_OCR, senses=True)
    assert normal["text_config"] == GLM_OCR["text_config"]
    assert normal["vision_config"] == {"depth": 2}
    assert normal["torch_dtype"] == "bfloat16"
    assert [change.key for change in changes] == ["torch_dtype", "vision_config.dtype", "vision_config.rope_parameters"]
    assert normalise_config(normal, senses=True) == (normal, [])


@pytest.mark.parametrize(
    ("kind", "written", "read"),
    [
        ("hunyuan_vl", "hunyuan_vl_vision", "hunyuan_vl"),
        ("kimi_k25", "kimi_k25_vision", "moonvit"),
        ("paddleocr_vl", "paddleocr_vl_vision", "paddleocr_vl"),
    ],
)
def test_an_encoder_has_the_type_that_its_class_takes(kind: str, written: str, read: str) -> None:
    config = {"model_type": kind, "vision_config": {"model_type": written}}
    assert normalise_config(config, senses=True)[0]["vision_config"]["model_type"] == read


def test_paddleocr_s_text_part_is_read_on_top() -> None:
    text = {
        "hidden_size": 96,
        "num_hidden_layers": 3,
        "rope_parameters": {"rope_theta": 5e5, "mrope_section": [4, 6, 6]},
    }
    normal, _ = normalise_config({"model_type": "paddleocr_vl", "text_config": text}, senses=True)
    assert (normal["hidden_size"], normal["num_hidden_layers"], normal["rope_theta"]) == (96, 3, 5e5)
    assert normal["rope_scaling"]["mrope_section"] == [4, 6, 6]
