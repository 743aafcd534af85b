"""What inspect says of a processor's files, and of the tokens that stand for pictures, before anything is downloaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from headers import LAYERS, Tensors, facts, find, judge
from mlx_publish.checks.facts import Loads, SourceFacts

SEES = Loads("mlx-vlm", "0.7.10", frozenset({"idefics3", "qwen3_vl", "gemma3"}), senses=True)
TOWER: Tensors = {
    **{f"model.text_model.{name.removeprefix('model.')}": layer for name, layer in LAYERS.items()},
    "model.vision_model.post_layernorm.weight": ("BF16", (64,)),
    "model.connector.modality_projection.proj.weight": ("BF16", (64, 64)),
}
CONFIG: Mapping[str, Any] = {
    "model_type": "idefics3",
    "architectures": ["Idefics3ForConditionalGeneration"],
    "scale_factor": 2,
    "image_token_id": 1,
    "vision_config": {"image_size": 56, "patch_size": 14},
}
IMAGES: Mapping[str, Any] = {
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "rescale_factor": 1 / 255,
    "resample": 1,
    "size": {"longest_edge": 112},
    "max_image_size": {"longest_edge": 56},
    "image_processor_type": "Idefics3ImageProcessor",
}
QWEN: Mapping[str, Any] = {
    "image_processor_type": "Qwen2VLImageProcessorFast",
    "size": {"longest_edge": 16777216, "shortest_edge": 3136},
    "patch_size": 16,
    "merge_size": 2,
    "temporal_patch_size": 2,
}
QWEN_VISION: Mapping[str, Any] = {"patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2}


def seeing(
    images: Mapping[str, Any] | None = IMAGES,
    processor: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] = CONFIG,
    tensors: Tensors = TOWER,
    **recipe: Any,
) -> SourceFacts:
    files = {
        "preprocessor_config.json": None if images is None else dict(images),
        "processor_config.json": None if processor is None else dict(processor),
    }
    return replace(facts(files, config=config, tensors=tensors, **recipe), loads=SEES)


def test_a_text_model_has_none_of_these_checks() -> None:
    assert not {"processor-files", "processor-agrees", "sense-tokens", "senses-asked"} & judge(facts()).keys()


def test_a_whole_processor_passes() -> None:
    found = judge(seeing(processor={"image_seq_len": 4}))
    assert found["processor-files"].status == found["processor-agrees"].status == "pass"


def test_it_may_lie_within_the_other_file() -> None:
    found = judge(seeing(None, {"image_seq_len": 4, "image_processor": dict(IMAGES)}))
    assert found["processor-files"].status == found["processor-agrees"].status == "pass"


def test_without_one_nobody_can_make_numbers_of_a_picture() -> None:
    found = find("processor-files", seeing(None, {"processor_class": "Idefics3Processor"}))
    assert found.status == "fail"
    assert "preprocessor_config.json" in found.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_std": [0.5, 0, 0.5]}, "image_std is [0.5, 0, 0.5], by which nothing can be divided"),
        ({"image_std": [0.5, -0.5, 0.5]}, "by which nothing can be divided"),
        ({"image_mean": [0.5] * 5}, "image_mean has 5 numbers"),
        ({"image_mean": [0.5] * 4}, "different numbers of colours"),
        ({"image_mean": ["a", 0.5, 0.5]}, "not a number for each colour"),
        ({"image_mean": [1e9, 0.5, 0.5]}, "not a number for each colour"),
        ({"size": {"longest_edge": 10**9}}, "size is 1000000000, not a whole number from 1 to 8,192"),
        ({"size": {"height": -1, "width": 56}}, "size is -1"),
        ({"crop_size": {"height": "56", "width": 56}}, "crop_size is '56'"),
        ({"patch_size": 0}, "patch_size is 0"),
        ({"rescale_factor": 0}, "rescale_factor is 0"),
        ({"rescale_factor": float("nan")}, "rescale_factor has no finite number"),
        ({"size": {"longest_edge": float("inf")}}, "size has no finite number"),
        ({"max_pixels": 10**12}, "max_pixels is 1000000000000"),
        ({"max_patches": 10**9}, "max_patches is 1000000000"),
        ({"sampling_rate": 0}, "sampling_rate is 0"),
    ],
)
def test_a_value_with_which_no_picture_can_be_made_is_refused(change: dict[str, Any], words: str) -> None:
    found = find("processor-files", seeing({**IMAGES, **change}))
    assert found.status == "fail"
    assert words in found.message


def test_an_area_may_be_large_and_is_bounded_too() -> None:
    config = {**CONFIG, "model_type": "qwen3_vl", "vision_config": QWEN_VISION}
    assert find("processor-files", seeing(QWEN, config=config)).status == "pass"
    hostile = {**QWEN, "size": {"longest_edge": 10**9, "shortest_edge": 3136}}
    assert find("processor-files", seeing(hostile, config=config)).status == "fail"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"patch_size": 14}, "patch_size is 14"),
        ({"merge_size": 4}, "merge_size is 4"),
        ({"temporal_patch_size": 1}, "temporal_patch_size is 1"),
    ],
)
def test_patches_of_another_encoder_are_refused(change: dict[str, int], words: str) -> None:
    config = {**CONFIG, "model_type": "qwen3_vl", "vision_config": QWEN_VISION}
    found = find("processor-agrees", seeing({**QWEN, **change}, config=config))
    assert found.status == "fail"
    assert words in found.message


@pytest.mark.parametrize(
    ("images", "processor", "words"),
    [
        ({**IMAGES, "max_image_size": {"longest_edge": 64}}, {}, "max_image_size is 64"),
        (IMAGES, {"image_seq_len": 5}, "image_seq_len is 5 in processor_config.json, and 4 there"),
    ],
)
def test_pictures_and_tokens_of_another_size_are_refused(
    images: dict[str, Any], processor: dict[str, Any], words: str
) -> None:
    found = find("processor-agrees", seeing(images, processor))
    assert found.status == "fail"
    assert words in found.message


def test_code_that_a_processor_names_is_told_and_is_no_failure() -> None:
    named = {**IMAGES, "auto_map": {"AutoImageProcessor": "processing_x.X"}}
    found = find("processor-files", seeing(named))
    assert found.status == "warn"
    assert "none is run" in found.message


def test_an_image_token_that_the_tokenizer_does_not_have_is_refused() -> None:
    found = find("sense-tokens", seeing(config={**CONFIG, "image_token_id": 77}))
    assert found.status == "fail"
    assert "image_token_id 77" in found.message


def test_an_image_token_of_another_text_is_refused() -> None:
    tokens = {"added_tokens_decoder": {"1": {"content": "<image>"}, "2": {"content": "</s>"}}, "eos_token": "</s>"}
    source = seeing(config={**CONFIG, "image_token_id": 2})
    entries = source.source.files.contents  # type: ignore[attr-defined]
    entries["tokenizer_config.json"] = __import__("json").dumps(tokens).encode()
    found = find("sense-tokens", source)
    assert found.status == "fail"
    assert "images stand at <image>" in found.message


def test_a_part_of_config_without_a_tensor_is_refused() -> None:
    found = find("modality-weights", seeing(config={**CONFIG, "audio_config": {"hidden_size": 8}}))
    assert found.status == "fail"
    assert "audio_config" in found.message
    bare = {name: layer for name, layer in TOWER.items() if "vision" not in name and "connector" not in name}
    assert find("modality-weights", seeing(tensors=bare)).status == "fail"


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"variants": ["4bit-awq"]}, "awq learns in mlx-lm"),
        ({"variants": ["4bit-dwq"]}, "dwq learns in mlx-lm"),
        ({"mtp": "keep"}, "mtp: it makes a drafter"),
        ({"stream": True}, "stream: it converts while"),
    ],
)
def test_what_is_not_proven_with_towers_is_refused_with_the_next_step(recipe: dict[str, Any], words: str) -> None:
    found = find("senses-asked", seeing(**recipe))
    assert found.status == "fail"
    assert words in found.message
    assert "modality: text" in found.remedy


def test_towers_of_a_text_model_are_a_slip() -> None:
    found = find("towers-asked", facts(towers="8bit"))
    assert found.status == "fail"


def test_a_type_that_only_the_text_converter_may_have_names_that_way() -> None:
    found = find("model-type", seeing(config={**CONFIG, "model_type": "nobody"}))
    assert "modality: text" in found.remedy


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ({"rescale_factor": 1.0}, "rescale_factor 1.0"),
        ({"do_rescale": False}, "do_rescale false"),
        ({"image_mean": [0.0] * 3, "image_std": [255.0] * 3}, "over a range of 0.00392"),
        ({"rescale_factor": 1 / 127.5}, "not 1/255"),
        ({"do_rescale": False, "do_normalize": False}, "up to 255"),
    ],
)
def test_colours_of_a_range_that_no_encoder_was_trained_on_are_told(images: Mapping[str, Any], words: str) -> None:
    found = find("processor-files", seeing(dict(IMAGES) | images))
    assert found.status == "warn"
    assert words in found.message


@pytest.mark.parametrize(
    "images",
    [
        {"image_mean": [0.0] * 3, "image_std": [1.0] * 3, "do_normalize": False},
        {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]},
        {"image_mean": 0.5, "image_std": 0.5},
        {"rescale_factor": 1 / 256},
        {"image_mean": [123.675, 116.28, 103.53], "image_std": [58.395, 57.12, 57.375], "do_rescale": False},
    ],
)
def test_colours_as_makers_normalise_them_are_not(images: Mapping[str, Any]) -> None:
    assert find("processor-files", seeing({**IMAGES, **images})).status == "pass"


@pytest.mark.parametrize(
    "change",
    [{"image_mean": [0.48, 0.46, 0.41]}, {"size": {"longest_edge": 1456}}, {"do_resize": False, "resample": 3}],
)
def test_two_files_that_say_otherwise_are_told_with_both_values(change: Mapping[str, Any]) -> None:
    own = dict(IMAGES) | {"do_resize": True}
    found = find("processor-agrees", seeing(own, {"image_seq_len": 4, "image_processor": {**own, **change}}))
    assert found.status == "warn"
    assert next(iter(change)) in found.message
    assert "processor_config.json image_processor" in found.message


def test_two_files_that_say_the_same_in_other_words_agree() -> None:
    other = dict(IMAGES) | {"image_mean": 0.5, "image_processor_type": "Idefics3ImageProcessorFast", "do_pad": None}
    assert find("processor-agrees", seeing(processor={"image_processor": other})).status == "pass"


@pytest.mark.parametrize(
    "images",
    [
        {"size": {"longest_edge": 500_000_000, "shortest_edge": 400_000_000}},
        {"min_pixels": 10**8},
        {"size": "224"},
        {"patch_size": "16"},
        {"max_pixels": "\x1b[31m" * 1000},
        {"merge_size": True},
        {"size": [[1]]},
    ],
)
def test_sizes_that_no_picture_has_are_refused_before_one_is_drawn(images: Mapping[str, Any]) -> None:
    found = find("processor-files", seeing(dict(QWEN) | images, config={**CONFIG, "model_type": "qwen3_vl"}))
    assert found.status == "fail"
    assert found.message.isprintable()
    assert len(found.message) < 400


def test_a_side_that_every_picture_is_enlarged_to_is_bounded() -> None:
    assert find("processor-files", seeing(dict(IMAGES) | {"size": {"longest_edge": 32_760}})).status == "fail"


@pytest.mark.parametrize(
    "size", [{"longest_edge": 16_777_216, "shortest_edge": 65_536}, {"longest_edge": None, "shortest_edge": 3136}, None]
)
def test_sizes_of_makers_are_not(size: Mapping[str, Any] | None) -> None:
    images = dict(QWEN) | {"size": size, "min_pixels": 3136, "max_pixels": 12_845_056}
    assert find("processor-files", seeing(images, config={**CONFIG, "model_type": "qwen3_vl"})).status == "pass"


def tokens_of(**config: object) -> SourceFacts:
    """Return a source of a family without a text of its own for images, whose tokenizer has four tokens."""
    texts = ("<image>", "</s>", "<video>", "<end>")
    source = seeing(config={**CONFIG, "model_type": "seer", **config})
    entries = source.source.files.contents  # type: ignore[attr-defined]
    decoder = {str(number): {"content": text} for number, text in enumerate(texts, 1)}
    entries["tokenizer_config.json"] = json.dumps({"added_tokens_decoder": decoder, "eos_token": "</s>"}).encode()
    return replace(source, loads=replace(SEES, types=SEES.types | {"seer"}))


@pytest.mark.parametrize(
    ("config", "status", "words"),
    [
        ({"image_token_id": True}, "fail", "image_token_id of config.json is True, not an id"),
        ({"image_token_id": "4"}, "fail", "not an id"),
        ({"image_token_id": 4.0}, "fail", "not an id"),
        ({"image_token_id": [1]}, "fail", "not an id"),
        ({"image_token_id": 2, "eos_token_id": [2]}, "fail", "at which an answer ends, too"),
        ({"image_token_id": 2, "text_config": {"eos_token_id": 2}}, "fail", "at which an answer ends, too"),
        ({"image_token_id": 1, "video_token_id": 1}, "warn", "and so is video_token_id"),
        ({"image_token_id": 1, "vision_end_token_id": 1}, "warn", "and so is vision_end_token_id"),
        ({"vision_start_token_id": 3, "vision_end_token_id": 3}, "warn", "by the same id, 3"),
        ({"image_token_id": 1, "image_token_index": 1, "video_token_id": 3, "eos_token_id": 2}, "pass", "<image> (1)"),
        ({"image_token_id": 1, "video_token_id": None, "boi_token_id": 3, "eoi_token_id": 4}, "pass", "<image> (1)"),
    ],
)
def test_an_id_of_a_picture_is_one_and_its_own(config: dict[str, Any], status: str, words: str) -> None:
    found = find("sense-tokens", tokens_of(**config))
    assert found.status == status
    assert words in found.message
