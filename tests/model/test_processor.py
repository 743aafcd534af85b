"""What cannot be, and what is only odd, in the files that say how a model's pictures are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mlx_publish.model.processor import image_settings, misfits

Settings = Mapping[str, Any]
SIGLIP: Settings = {
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "resample": 2,
    "size": {"height": 896, "width": 896},
}
QWEN: Settings = {
    "image_mean": [0.48, 0.45, 0.4],
    "image_std": [0.26, 0.26, 0.27],
    "size": {"longest_edge": 16777216, "shortest_edge": 65536},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
}
TOWER: Settings = {"vision_config": {"image_size": 896, "patch_size": 14}}
GRID: Settings = {"vision_config": {"patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2}}


@pytest.mark.parametrize(
    ("settings", "config"),
    [
        (SIGLIP, TOWER),
        (QWEN, GRID),
        ({**QWEN, "min_pixels": 3136, "max_pixels": 12845056, "size": None}, GRID),
        ({**SIGLIP, "size": {"longest_edge": 1540}, "patch_size": {"height": 14, "width": 14}}, TOWER),
        ({**SIGLIP, "size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 896}}, TOWER),
        ({**SIGLIP, "image_mean": 0.5, "image_std": 0.5}, TOWER),
        ({**SIGLIP, "image_mean": [127.5] * 3, "do_rescale": False}, TOWER),
        ({**SIGLIP, "image_mean": None, "image_std": None, "resample": "bicubic", "size": 896}, TOWER),
        ({**SIGLIP, "patch_size": 28}, TOWER),  # Aya Vision: patches that were joined
        (SIGLIP, {"vision_config": {"image_size": [896, 896]}}),
        (SIGLIP, {"vision_config": "siglip"}),
    ],
)
def test_what_makers_publish_is_neither_wrong_nor_odd(settings: Settings, config: Settings) -> None:
    found = misfits({"preprocessor_config.json": settings}, config)
    assert (found.wrong, found.odd) == ((), ())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_std": [0.5, 0, 0.5]}, "not above 0"),
        ({"image_std": [0.5, -0.5, 0.5]}, "not above 0"),
        ({"image_std": []}, "not a list of numbers"),
        ({"image_mean": [float("nan")] * 3}, "not a list of numbers"),
        ({"image_mean": ["0.5"] * 3}, "not a list of numbers"),
        ({"image_mean": [True] * 3}, "not a list of numbers"),
        ({"image_mean": [0.5] * 4}, "another number of channels"),
        ({"resample": 6}, "resample 6 is no filter"),
        ({"resample": -1}, "resample -1 is no filter"),
        ({"size": {"longest_edge": 10**9}}, "size.longest_edge is 1000000000 pixels"),
        ({"crop_size": {"height": 10**300, "width": 1}}, "crop_size.height is 1000"),
        ({"max_pixels": 10**15}, "max_pixels is"),
        ({"image_seq_length": 10**9}, "1000000000 tokens"),
        ({"patch_size": 14, "merge_size": 2}, "patch_size is 14, and patch_size of vision_config is 16"),
        ({"patch_size": 16, "merge_size": 4}, "merge_size is 4, and spatial_merge_size of vision_config is 2"),
    ],
)
def test_what_cannot_be_is_wrong(change: Settings, said: str) -> None:
    [wrong] = misfits({"preprocessor_config.json": {**SIGLIP, **change}}, GRID).wrong
    assert said in wrong
    assert len(wrong) < 150


@pytest.mark.parametrize(
    ("settings", "config", "said"),
    [
        (
            {**SIGLIP, "size": {"height": 448, "width": 448}},
            TOWER,
            "size is 448, and image_size of vision_config is 896",
        ),
        ({**SIGLIP, "image_mean": [127.5] * 3}, TOWER, "image_mean is up to 127.5"),
        ({**QWEN, "temporal_patch_size": 1}, GRID, "temporal_patch_size is 1"),
        ({**QWEN, "size": {"longest_edge": 10**12, "shortest_edge": 65536}}, GRID, "size.longest_edge is"),
        ({**QWEN, "min_pixels": 3136, "max_pixels": 10**12}, GRID, "max_pixels is"),
    ],
)
def test_what_need_not_be_wrong_is_odd(settings: Settings, config: Settings, said: str) -> None:
    found = misfits({"preprocessor_config.json": settings}, config)
    assert found.wrong == ()
    assert said in " ".join(found.odd)


def test_settings_are_those_that_transformers_takes() -> None:
    nested = {"processor_class": "Gemma3Processor", "image_processor": {"image_std": [0.0]}}
    assert image_settings({"processor_config.json": nested, "preprocessor_config.json": SIGLIP}) == {"image_std": [0.0]}
    assert image_settings({"processor_config.json": {"image_seq_len": 4}, "preprocessor_config.json": SIGLIP}) == SIGLIP
    own = {"processor_class": "DeepseekVLV2Processor", "image_mean": [0.5] * 3}
    assert image_settings({"processor_config.json": own}) == own
    assert misfits({"processor_config.json": {"processor_class": "Idefics3Processor"}}, TOWER).wrong


def test_tokens_of_the_whole_processor_are_bounded_too() -> None:
    files = {"preprocessor_config.json": SIGLIP, "processor_config.json": {"image_seq_len": 10**9}}
    assert "image_seq_len is 1000000000 tokens" in misfits(files, TOWER).wrong[0]
