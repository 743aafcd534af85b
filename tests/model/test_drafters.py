"""Which tensors are multi-token heads, and which drafter is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

import heads
from mlx_publish.model.drafter_config import drafter_config, for_mlx_vlm
from mlx_publish.model.drafters import Drafter, Unfit, drafter_of, heads_of, unsupported

FAMILIES: tuple[tuple[str, heads.Shapes, dict[str, Any], str, int], ...] = (
    ("qwen3_5_moe", heads.qwen_moe(), {"num_hidden_layers": 1, "mtp_num_hidden_layers": 1}, "qwen3_5_mtp", 3),
    ("nemotron_h", heads.nemotron(), heads.NEMOTRON, "nemotron_h_mtp", 2),
    ("glm_moe_dsa", heads.glm(), heads.GLM, "glm_moe_dsa_mtp", 2),
)


def drafter(kind: str, shapes: heads.Shapes, config: Mapping[str, object], dtype: str = "BF16") -> Drafter:
    return drafter_of([kind], config, heads.infos(shapes, dtype))


@pytest.mark.parametrize(("kind", "shapes", "config", "model_type", "block"), FAMILIES)
def test_every_tensor_of_the_heads_is_in_the_drafter(
    kind: str, shapes: heads.Shapes, config: dict[str, Any], model_type: str, block: int
) -> None:
    made = drafter(kind, shapes, config)
    own = {tensor.name for tensor in heads_of(heads.infos(shapes), config)}
    assert own
    assert {source for part in made.parts for source in part.sources} == own
    assert (made.model_type, made.block_size, made.depth) == (model_type, block, 1)


@pytest.mark.parametrize(("kind", "shapes", "config", "model_type", "block"), FAMILIES)
def test_a_head_that_is_not_whole_or_has_more_or_other_shapes_is_refused(
    kind: str, shapes: heads.Shapes, config: dict[str, Any], model_type: str, block: int
) -> None:
    del model_type, block
    own = [tensor.name for tensor in heads_of(heads.infos(shapes), config)]
    for name in own:
        with pytest.raises(Unfit, match=r"not whole|is missing|compared with|the shape"):
            drafter(kind, {key: shape for key, shape in shapes.items() if key != name}, config)
        with pytest.raises(Unfit, match=r"shape|dimension|rows|no input_layernorm"):
            drafter(kind, {**shapes, name: (*shapes[name][:-1], shapes[name][-1] + 1)}, config)
    with pytest.raises(Unfit, match=r"no place|layer behind"):
        drafter(kind, {**shapes, f"{own[0].rpartition('.')[0]}.odd": (3,)}, config)
    with pytest.raises(Unfit, match="stored as F8_E4M3"):
        drafter(kind, shapes, config, "F8_E4M3")


def test_a_source_without_heads_is_told_from_one_that_declares_them() -> None:
    shapes = {name: shape for name, shape in heads.qwen_moe().items() if not name.startswith("mtp.")}
    with pytest.raises(Unfit, match=r"no multi-token heads$"):
        drafter("qwen3_5_moe", shapes, {"num_hidden_layers": 1})
    with pytest.raises(Unfit, match=r"although config.json declares 1 layer"):
        drafter("qwen3_5_moe", shapes, {"num_hidden_layers": 1, "mtp_num_hidden_layers": 1})
    with pytest.raises(Unfit, match=r"declares 2 layer.* and the source has 1"):
        drafter("qwen3_5_moe", heads.qwen_moe(), {"num_hidden_layers": 1, "mtp_num_hidden_layers": 2})


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("qwen3_next", "gives them no hidden states"),
        ("glm4_moe_lite", "has no class that loads them"),
        ("deepseek_v3", "neither mlx-lm nor mlx-vlm 0.7 has a drafter for deepseek_v3"),
        ("mimo", "neither mlx-lm nor mlx-vlm 0.7"),
    ],
)
def test_a_family_without_a_drafter_is_refused_with_the_reason(kind: str, why: str) -> None:
    assert why in unsupported([kind])
    with pytest.raises(Unfit, match=why):
        drafter(kind, heads.qwen_moe(), {"num_hidden_layers": 1})


def test_heads_are_compared_with_layers_of_the_language_model_and_not_of_an_encoder() -> None:
    encoder: heads.Shapes = {
        "vision_tower.encoder.layers.0.self_attn.q_proj.weight": (8, 8),
        "vision_tower.encoder.layers.0.input_layernorm.weight": (8,),
    }
    made = drafter("qwen3_5_moe", {**heads.qwen_moe(), **encoder}, {"num_hidden_layers": 1})
    assert made.parts == drafter("qwen3_5_moe", heads.qwen_moe(), {"num_hidden_layers": 1}).parts


def test_layers_behind_the_last_are_heads_and_those_of_encoders_are_not() -> None:
    names = ("model.layers.2.mlp.up_proj.weight", "visual.layers.7.attn.weight", "model.layers.1.x", "a.mtp_block.b")
    shapes: heads.Shapes = dict.fromkeys(names, (2, 2))
    found = [tensor.name for tensor in heads_of(heads.infos(shapes), {"num_hidden_layers": 2})]
    assert found == [names[0], names[3]]


def test_the_config_of_a_qwen_gets_what_mlx_vlm_asks_for_and_nothing_else() -> None:
    rope = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25}
    config = {"model_type": "qwen3_5", "text_config": {"head_dim": 32, "rope_parameters": rope}}
    made, words = for_mlx_vlm(config)
    assert made["text_config"]["rope_parameters"] == {**rope, "mrope_section": [4, 0, 0]}
    assert "mrope_section [4, 0, 0]" in words
    assert "mrope_section" not in rope
    assert for_mlx_vlm(made) == (made, "")
    assert for_mlx_vlm({"model_type": "llama"}) == ({"model_type": "llama"}, "")


def test_a_nemotron_in_words_gets_its_letters() -> None:
    kinds = ["linear_attention", "full_attention", "moe", "mlp"]
    config = {"model_type": "nemotron_h", "layers_block_type": kinds, "mtp_layers_block_type": kinds[1:3]}
    made, words = for_mlx_vlm(config)
    assert (made["hybrid_override_pattern"], made["mtp_hybrid_override_pattern"]) == ("M*E-", "*E")
    assert "M*E-" in words


def test_the_config_of_a_drafter_says_its_bits_and_names_no_code() -> None:
    made = drafter("qwen3_5_moe", heads.qwen_moe(), {"num_hidden_layers": 1})
    config = {"model_type": "qwen3_5_moe", "text_config": {"auto_map": {"x": "y"}, "quantization": {"bits": 4}, "a": 1}}
    plain = drafter_config(made, config, None, 64)
    assert plain["text_config"] == {"a": 1}
    assert "quantization" not in plain
    assert (plain["model_type"], plain["tie_word_embeddings"]) == ("qwen3_5_mtp", True)
    packed = drafter_config(made, config, 8, 32)
    assert packed["quantization"] == packed["quantization_config"] == {"group_size": 32, "bits": 8, "mode": "affine"}
