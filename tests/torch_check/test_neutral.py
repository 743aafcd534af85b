"""The key to blame: what takes the effect of each key away, and which one is named first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.torch_check.neutral import Candidate, candidates, culprit
from mlx_publish.torch_check.shrink import shrink

CONFIGS = Path(__file__).parents[1] / "configs"
SMALL: dict[str, Any] = {"model_type": "llama", "hidden_size": 128, "num_attention_heads": 4}


def values(config: dict[str, Any], key: str) -> list[Any]:
    return [one.value for one in candidates(config) if one.key == key]


@pytest.mark.parametrize(
    ("keys", "key", "neutral"),
    [
        ({"sliding_window": 32}, "sliding_window", [None, 100_000]),
        ({"attention_chunk_size": 48}, "attention_chunk_size", [100_000]),
        ({"no_rope_layers": [1, 1, 1, 0]}, "no_rope_layers", [[1, 1, 1, 1]]),
        (
            {"layer_types": ["sliding_attention", "linear_attention"]},
            "layer_types",
            [["full_attention", "linear_attention"]],
        ),
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping", [None]),
        ({"query_pre_attn_scalar": 224}, "query_pre_attn_scalar", [32]),
        ({"residual_multiplier": 0.2}, "residual_multiplier", [1.0]),
        ({"mlp_multipliers": [0.5, 0.2]}, "mlp_multipliers", [[1.0, 1.0]]),
        ({"norm_topk_prob": True}, "norm_topk_prob", [False]),
        ({"num_experts": 8, "num_experts_per_tok": 2}, "num_experts_per_tok", [8]),
        ({"hidden_act": "silu"}, "hidden_act", ["gelu_pytorch_tanh", "gelu", "relu2"]),
        ({"rope_theta": 5e5}, "rope_theta", [10_000.0]),
        ({"rms_norm_eps": 1e-3}, "rms_norm_eps", [1e-5, 1e-6]),
        ({"a_switch_of_its_own": True}, "a_switch_of_its_own", [False]),
        ({"a_number_of_its_own": 0.3}, "a_number_of_its_own", [1.0, 0.0]),
    ],
)
def test_each_key_has_a_value_that_takes_its_effect_away(keys: dict[str, Any], key: str, neutral: list[Any]) -> None:
    assert values({**SMALL, **keys}, key) == neutral


def test_single_keys_of_rope_come_before_all_of_it_and_its_base_comes_last() -> None:
    rope = {"rope_type": "yarn", "factor": 4.0, "beta_fast": 32.0, "truncate": False, "rope_theta": 5e5}
    keys = [one.key for one in candidates({**SMALL, "rope_parameters": rope}) if one.key.startswith("rope_")]
    assert keys.index("rope_parameters.truncate") < keys.index("rope_parameters")
    assert keys.index("rope_parameters") < keys.index("rope_parameters.rope_theta")
    whole = next(one for one in candidates({**SMALL, "rope_parameters": rope}) if one.key == "rope_parameters")
    assert whole.value == {"rope_theta": 5e5, "rope_type": "default"}


def test_rope_by_kind_of_layer_is_looked_at_by_kind() -> None:
    rope = {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}}
    keys = [one.key for one in candidates({**SMALL, "rope_parameters": rope})]
    assert "rope_parameters.full_attention" in keys
    assert "rope_parameters.full_attention.rope_theta" in keys


def test_keys_of_a_part_are_named_by_their_path_and_the_part_alone_changes() -> None:
    config: dict[str, Any] = {
        "model_type": "wrapper",
        "sliding_window": 7,
        "text_config": {**SMALL, "sliding_window": 32},
    }
    found = [one for one in candidates(config) if one.key.endswith("sliding_window")]
    assert {one.key for one in found} == {"text_config.sliding_window"}
    parts: list[Any] = [one.config["text_config"] for one in found]
    assert [part["sliding_window"] for part in parts] == [None, 100_000]
    assert {one.config["sliding_window"] for one in found} == {7}
    assert config["text_config"]["sliding_window"] == 32


def test_what_is_neutral_already_is_no_candidate() -> None:
    assert values({**SMALL, "residual_multiplier": 1.0, "rope_theta": 10_000.0}, "residual_multiplier") == []
    assert values({**SMALL, "rope_theta": 10_000.0}, "rope_theta") == []


def test_the_key_of_a_boundary_that_was_met_comes_first() -> None:
    config = {**SMALL, "sliding_window": 32, "index_topk": 40}
    assert candidates(config, "index_topk")[0].key == "index_topk"
    assert candidates(config, "text_config.sliding_window")[0].key == "sliding_window"


def test_the_first_with_which_both_agree_is_to_blame_and_no_more_are_tried() -> None:
    found = [Candidate(name, None, {}) for name in "abcdef"]
    asked: list[str] = []

    def agree(some: Sequence[Candidate]) -> list[bool]:
        asked.extend(one.key for one in some)
        return [one.key in "de" for one in some]

    blamed = culprit(found, agree, 2)
    assert blamed
    assert blamed.key == "d"
    assert asked == list("abcd")
    assert culprit(found, lambda some: [False] * len(some), 4) is None


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_every_published_config_has_candidates_that_are_json(path: Path) -> None:
    small = shrink(json.loads(path.read_text(encoding="utf-8"))).config
    found = candidates(small)
    assert found
    assert all(one.config != small for one in found)
    json.dumps([one.config for one in found[:3]])


@pytest.mark.parametrize("odd", ["x", [], {}, [{}], -1, 10**30, float("inf"), True, {"a": {"b": 1}}], ids=repr)
@pytest.mark.parametrize(
    "key",
    [
        "layer_types",
        "rope_parameters",
        "rope_scaling",
        "head_dim",
        "hidden_size",
        "text_config",
        "sliding_window",
        "num_experts",
        "mlp_multipliers",
        "no_rope_layers",
    ],
)
def test_strange_values_stop_nothing(key: str, odd: Any) -> None:
    config = {**SMALL, "hidden_act": "silu", "sliding_window": 32, "num_experts_per_tok": 2, key: odd}
    for one in candidates(config):
        assert one.config != config
