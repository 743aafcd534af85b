"""Names and forms of tensors that a class of mlx-lm does not read by itself."""

from __future__ import annotations

import mlx.core as mx  # noqa: TID251
import pytest

from mlx_publish.engine.names import early, late
from mlx_publish.model.config import ModelConfig

NOTHING = ModelConfig({})

EMBEDDING = mx.zeros((8, 4))


def test_a_head_beside_a_class_that_has_none_is_left_to_the_accounting() -> None:
    weights = {"model.embed_tokens.weight": EMBEDDING, "lm_head.weight": EMBEDDING}
    assert late(weights, {"model.embed_tokens.weight": (8, 4)}, NOTHING).keys() == {"model.embed_tokens.weight"}
    both = {"model.embed_tokens.weight": (8, 4), "language_model.lm_head.weight": (8, 4)}
    assert "lm_head.weight" in late(weights, both, NOTHING)


def test_experts_one_by_one_become_the_tensor_of_the_class() -> None:
    weights = {f"model.layers.0.mlp.experts.{n}.up_proj.weight": mx.full((2, 3), n) for n in (1, 0, 2)}
    made = late(weights, {"model.layers.0.mlp.switch_mlp.up_proj.weight": (3, 2, 3)}, NOTHING)
    assert made["model.layers.0.mlp.switch_mlp.up_proj.weight"][:, 0, 0].tolist() == [0, 1, 2]


def test_a_convolution_is_turned_where_it_fits_then() -> None:
    made = late({"layers.0.conv.weight": mx.zeros((6, 1, 3))}, {"layers.0.conv.weight": (6, 3, 1)}, NOTHING)
    assert made["layers.0.conv.weight"].shape == (6, 3, 1)


def test_experts_of_gpt_oss_in_bfloat16_are_turned() -> None:
    made = early(
        {"model.layers.0.mlp.experts.gate_up_proj": mx.zeros((2, 3, 8))}, ModelConfig({"model_type": "gpt_oss"})
    )
    assert {name: array.shape for name, array in made.items()} == {
        "model.layers.0.mlp.experts.gate_up_proj.weight": (2, 8, 3)
    }


@pytest.mark.parametrize("inner", [32, 64, 48])
def test_experts_as_transformers_5_saves_them_are_turned_where_one_of_both_is_square_too(inner: int) -> None:
    config = ModelConfig({"model_type": "qwen3_vl_moe", "text_config": {"hidden_size": 64}})
    saved = {"a.experts.gate_up_proj": (4, 2 * inner, 64), "a.experts.down_proj": (4, 64, inner)}
    hub = {"a.experts.gate_up_proj": (4, 64, 2 * inner), "a.experts.down_proj": (4, inner, 64)}
    for shapes in (saved, hub):
        made = early({name: mx.zeros(shape) for name, shape in shapes.items()}, config)
        assert {name: tuple(array.shape) for name, array in made.items()} == hub


@pytest.mark.parametrize("name", ["model.embed_tokens.weight", "model.language_model.embed_tokens.weight"])
def test_a_class_that_knows_no_tied_head_gets_the_embedding(name: str) -> None:
    embedding, own = mx.ones((4, 8)), mx.zeros((4, 8))
    config = ModelConfig({"model_type": "paddleocr_vl"})
    assert early({name: embedding}, config)["lm_head.weight"] is embedding
    assert early({name: embedding, "lm_head.weight": own}, config)["lm_head.weight"] is own
