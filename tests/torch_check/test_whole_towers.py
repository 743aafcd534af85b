"""Towers are made small and whole: widths in proportion, a few patches, and what joins them to the model as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.torch_check.shrink import shrink
from mlx_publish.torch_check.sizes import HIDDEN, VOCABULARY
from mlx_publish.torch_check.small_processor import SIDE, small_processor
from mlx_publish.torch_check.whole_towers import completed, grid_of

CONFIGS = Path(__file__).parents[1] / "configs"


def published(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8"))
    return config


def small(name: str) -> dict[str, Any]:
    return shrink(published(name), senses=True).config


def test_a_tower_has_two_layers_and_leads_into_the_small_language_model() -> None:
    tower = small("Qwen3-VL-2B-Instruct")["vision_config"]
    assert (tower["depth"], tower["num_heads"], tower["out_hidden_size"]) == (2, 2, HIDDEN)
    assert tower["intermediate_size"] == 4 * tower["hidden_size"] < 1024
    assert tower["deepstack_visual_indexes"] == [1]
    kept = ("patch_size", "spatial_merge_size", "temporal_patch_size", "hidden_act")
    before = published("Qwen3-VL-2B-Instruct")["vision_config"]
    assert {key: tower[key] for key in kept} == {key: before[key] for key in kept}


@pytest.mark.parametrize("name", ["gemma-3-4b-it", "llava-1.5-7b-hf", "Llama-4-Scout-17B-16E-Instruct"])
def test_a_picture_has_a_few_whole_patches_and_is_pooled_as_before(name: str) -> None:
    before, after = published(name), small(name)
    tower, source = after["vision_config"], before["vision_config"]
    side, patch = tower["image_size"] // tower["patch_size"], source["patch_size"]
    assert tower["patch_size"] == patch
    assert tower["image_size"] % patch == source["image_size"] % patch
    assert 4 <= side <= 8
    if count := before.get("mm_tokens_per_image"):
        whole = source["image_size"] // patch
        assert (whole / side) ** 2 == count / after["mm_tokens_per_image"]


def test_widths_that_were_equal_stay_so() -> None:
    tower = small("Llama-4-Scout-17B-16E-Instruct")["vision_config"]
    assert tower["projector_input_dim"] == tower["projector_output_dim"] == tower["vision_output_dim"]
    assert tower["intermediate_size"] == 4 * tower["hidden_size"]


def test_windows_and_the_layers_without_them_stay() -> None:
    tower = small("Qwen2.5-VL-7B-Instruct")["vision_config"]
    assert (tower["depth"], tower["fullatt_block_indexes"]) == (2, [1])
    assert tower["window_size"] == 2 * tower["patch_size"] * tower["spatial_merge_size"]


def test_the_width_of_a_tower_that_calls_the_language_model_s_hidden_size_is_its_own() -> None:
    tower = small("Qwen2-VL-7B-Instruct")["vision_config"]
    assert (tower["hidden_size"], tower["embed_dim"]) == (HIDDEN, 64)


def test_special_tokens_that_differ_get_ids_that_differ() -> None:
    found = small("gemma-4-E4B")
    ids = [found[key] for key in ("image_token_id", "audio_token_id", "boi_token_id", "eoi_token_id", "video_token_id")]
    assert len(set(ids)) == len(ids)
    assert all(0 <= id_ < VOCABULARY for id_ in ids)
    assert found["eoa_token_id"] == found["eoa_token_index"]


def test_sizes_that_a_config_leaves_to_its_class_are_filled_in_and_others_are_not() -> None:
    config = {"model_type": "pixtral", "vision_config": {"head_dim": 64, "hidden_act": "silu"}, "text_config": {}}
    resolved = {"vision_config": {"hidden_size": 1024, "image_size": 1024, "hidden_act": "gelu", "num_channels": 3}}
    made = completed(config, resolved, {"hidden_size": 5120, "rope_theta": 1e9})
    assert made["vision_config"] == {"hidden_size": 1024, "image_size": 1024, "head_dim": 64, "hidden_act": "silu"}
    assert made["text_config"] == {"hidden_size": 5120}


def test_the_processor_of_a_small_picture_has_its_sizes_and_nothing_that_runs_code() -> None:
    config = published("gemma-3-4b-it")
    after = small("gemma-3-4b-it")
    settings = {"size": {"height": 896, "width": 896}, "image_seq_length": 256, "image_mean": [0.5] * 3, "auto_map": {}}
    made, side = small_processor(settings, config, after)
    grid = grid_of(config, after)
    assert grid is not None
    assert made == {"size": {"height": side, "width": side}, "image_seq_length": 4, "image_mean": [0.5] * 3}
    assert side == after["vision_config"]["image_size"] == grid.size_after


def test_without_settings_the_tower_s_patches_are_taken_and_a_picture_has_a_plain_size() -> None:
    config, after = published("Qwen3-VL-2B-Instruct"), small("Qwen3-VL-2B-Instruct")
    made, side = small_processor({}, config, after)
    assert made == {"patch_size": 16, "merge_size": 2, "temporal_patch_size": 2}
    assert side == SIDE


def test_a_tower_for_text_alone_is_cut_as_before() -> None:
    tower = shrink(published("Qwen3-VL-2B-Instruct")).config["vision_config"]
    assert (tower["depth"], tower["hidden_size"]) == (1, 1024)
