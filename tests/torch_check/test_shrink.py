"""A small config of the same structure: sizes shrink, what decides how it computes stays, boundaries come near."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.torch_check.shrink import shrink, text_part
from mlx_publish.torch_check.sizes import CONTEXT, FIRST_CONTEXT, LONG, VOCABULARY, WINDOW

CONFIGS = Path(__file__).parents[1] / "configs"
LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 5e5,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "eos_token_id": [128001, 128009],
}


def small(**keys: Any) -> dict[str, Any]:
    return shrink({**LLAMA, **keys}).config


def published(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8"))
    return config


def test_sizes_shrink_and_what_is_no_size_stays() -> None:
    found = small()
    assert (found["hidden_size"], found["num_attention_heads"], found["num_key_value_heads"]) == (128, 4, 2)
    assert (found["num_hidden_layers"], found["vocab_size"]) == (2, VOCABULARY)
    assert found["intermediate_size"] < 1024
    kept = ("model_type", "architectures", "rms_norm_eps", "rope_theta", "hidden_act", "tie_word_embeddings")
    assert {key: found[key] for key in kept} == {key: LLAMA[key] for key in kept}
    assert all(0 <= id_ < VOCABULARY for id_ in found["eos_token_id"])


def test_the_source_s_own_is_not_changed() -> None:
    config = {**LLAMA, "rope_scaling": {"rope_type": "linear", "factor": 2.0, "original_max_position_embeddings": 99}}
    before = json.dumps(config)
    shrink(config)
    assert json.dumps(config) == before


@pytest.mark.parametrize(("heads", "kv", "few"), [(32, 32, 4), (32, 8, 2), (32, 1, 1), (2, 2, 2), (71, 71, 4)])
def test_how_heads_share_keys_stays(heads: int, kv: int, few: int) -> None:
    assert small(num_attention_heads=heads, num_key_value_heads=kv)["num_key_value_heads"] == few


def test_a_head_of_another_width_than_the_quotient_stays_another() -> None:
    found = small(head_dim=256)
    assert found["head_dim"] != found["hidden_size"] // found["num_attention_heads"]
    assert small(head_dim=128)["head_dim"] == 32


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_of_every_published_config_every_key_but_code_and_quantization_stays(path: Path) -> None:
    config = published(path.stem)
    found = shrink(config)
    gone = {"quantization", "quantization_config", "compression_config", "auto_map", "model_file", "_name_or_path"}
    assert config.keys() - gone <= found.config.keys()
    text, was = text_part(found.config), text_part(config)
    assert was.keys() - gone <= text.keys()
    for key, value in was.items():
        if isinstance(value, (bool, float, str)) and key not in gone | {"hybrid_override_pattern"}:
            assert text[key] == value, key
        if type(value) is int and ("hidden_size" in key or "intermediate" in key or key == "vocab_size"):
            assert text[key] <= max(512, VOCABULARY), key
    assert all(place < LONG for place in found.boundaries)
    json.dumps(found.config)


def test_a_window_within_the_context_comes_near_and_is_remembered() -> None:
    found = shrink({**LLAMA, "sliding_window": 4096})
    assert found.config["sliding_window"] == WINDOW
    assert found.boundaries == {WINDOW: ("sliding_window", 4096)}


@pytest.mark.parametrize("window", [8192, 262144])
def test_a_window_that_no_text_reaches_stays_out_of_reach(window: int) -> None:
    found = shrink({**LLAMA, "sliding_window": window})
    assert found.config["sliding_window"] >= CONTEXT > LONG
    assert found.boundaries == {}


def test_every_boundary_lies_at_a_position_of_its_own() -> None:
    rope = {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 2048}
    found = shrink(
        {**LLAMA, "sliding_window": 512, "attention_chunk_size": 1024, "index_topk": 2048, "rope_scaling": rope}
    )
    assert sorted(key for key, _ in found.boundaries.values()) == [
        "attention_chunk_size",
        "index_topk",
        "rope_scaling.original_max_position_embeddings",
        "sliding_window",
    ]


def test_yarn_keeps_its_head_and_its_contexts_because_it_rounds_to_whole_dimensions() -> None:
    rope = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}
    found = shrink({**LLAMA, "head_dim": 128, "rope_scaling": rope})
    assert found.config["head_dim"] == 128
    assert found.config["max_position_embeddings"] == 8192
    assert found.config["rope_scaling"] == rope
    assert found.boundaries == {}


def test_the_lists_of_longrope_have_the_length_of_the_small_head() -> None:
    lists = {"short_factor": [1.0 + n / 64 for n in range(64)], "long_factor": [1.0 + n for n in range(64)]}
    rope = {"type": "longrope", **lists}
    found = shrink({**LLAMA, "rope_scaling": rope, "original_max_position_embeddings": 4096})
    half = found.config["hidden_size"] // found.config["num_attention_heads"] // 2
    for key, values in lists.items():
        few = found.config["rope_scaling"][key]
        assert (len(few), few[0], few[-1]) == (half, values[0], values[-1])
    # Its factor follows from the quotient of both contexts.
    first = found.config["original_max_position_embeddings"]
    assert (first, found.config["max_position_embeddings"]) == (FIRST_CONTEXT, 2 * FIRST_CONTEXT)
    assert found.boundaries == {FIRST_CONTEXT: ("original_max_position_embeddings", 4096)}


def test_the_axes_of_mrope_fill_the_small_head() -> None:
    found = small(rope_scaling={"type": "mrope", "mrope_section": [16, 24, 24]})
    parts = found["rope_scaling"]["mrope_section"]
    assert sum(parts) == found["hidden_size"] // found["num_attention_heads"] // 2
    assert min(parts) > 0


def test_experts_and_their_groups_fit() -> None:
    found = shrink(published("DeepSeek-V3")).config
    assert found["n_routed_experts"] % found["n_group"] == 0
    assert found["topk_group"] < found["n_group"]
    assert found["num_experts_per_tok"] < found["n_routed_experts"]
    assert found["qk_rope_head_dim"] == 64  # of yarn
    assert found["first_k_dense_replace"] >= 1


def test_a_tower_is_cut_and_leads_into_the_small_model() -> None:
    config = published("Qwen2.5-VL-7B-Instruct")
    tower = shrink(config).config["vision_config"]
    assert tower["depth"] == 1
    assert tower.get("out_hidden_size", 128) == 128


def test_a_list_of_layers_that_the_class_makes_is_taken_from_transformers() -> None:
    kinds = ["sliding_attention"] * 5 + ["full_attention"]
    config = {**LLAMA, "num_hidden_layers": 24, "sliding_window": 512}
    assert shrink(config, {"layer_types": kinds * 4, "num_hidden_layers": 24}).config["num_hidden_layers"] == 6


def nested(levels: int) -> dict[str, Any]:
    found: dict[str, Any] = dict(LLAMA)
    for _ in range(levels):
        found = {"text_config": found}
    return found


@pytest.mark.parametrize(
    "config",
    [
        {},
        {**LLAMA, "num_hidden_layers": 10**9},
        {**LLAMA, "hidden_size": "4096"},
        {**LLAMA, "num_attention_heads": 0},
        dict.fromkeys(LLAMA),
        dict.fromkeys(LLAMA, -1),
        {**LLAMA, "eos_token_id": 10**4200},
        {**LLAMA, "head_dim": 10**4000},
        nested(200),
        {**LLAMA, "architectures": [["x"], {}]},
        {**LLAMA, "rope_scaling": {"rope_type": "yarn", "factor": "8"}},
        {**LLAMA, "text_config": [LLAMA]},
    ],
)
def test_strange_configs_become_small_ones(config: dict[str, Any]) -> None:
    found = json.dumps(shrink(config).config)
    assert len(found) < 20_000


def test_a_width_that_a_projector_is_written_for_stays_where_pictures_are_shown() -> None:
    text = {**LLAMA, "model_type": "paddleocr_vl", "hidden_size": 1024, "num_attention_heads": 16, "head_dim": 128}
    vision = {"hidden_size": 1152, "num_attention_heads": 16, "num_hidden_layers": 27, "patch_size": 14}
    config = {**text, "vision_config": vision}
    assert shrink(config, senses=True).config["hidden_size"] == 1024
    assert shrink(config).config["hidden_size"] < 1024
    assert shrink({**config, "model_type": "qwen2_vl"}, senses=True).config["hidden_size"] < 1024
