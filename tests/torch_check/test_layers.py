"""Which layers stand for all: whole periods of every pattern, and every key that counts or lists layers follows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.torch_check.layers import layers_of

CONFIGS = Path(__file__).parents[1] / "configs"
WINDOW, FULL = "sliding_attention", "full_attention"


def cut(part: dict[str, Any]) -> dict[str, Any]:
    found = dict(part)
    layers_of(part).cut(found)
    return found


@pytest.mark.parametrize(
    ("part", "kept"),
    [
        ({"num_hidden_layers": 32}, (0, 1)),
        ({"n_layer": 12}, (0, 1)),
        ({"num_hidden_layers": 1}, (0,)),
        ({"num_hidden_layers": 26, "sliding_window_pattern": 6}, tuple(range(6))),
        ({"num_hidden_layers": 48, "no_rope_layers": [1, 1, 1, 0] * 12}, tuple(range(4))),
        ({"num_hidden_layers": 32, "attn_layer_period": 8, "expert_layer_period": 2}, tuple(range(8))),
        ({"num_hidden_layers": 36, "attn_layer_period": 4, "expert_layer_period": 6}, tuple(range(12))),
        ({"num_hidden_layers": 64, "sliding_window_pattern": "LLLG"}, tuple(range(4))),
        # The last period may be cut.
        ({"num_hidden_layers": 8, "layer_types": [WINDOW, WINDOW, FULL] * 2 + [WINDOW, WINDOW]}, (0, 1, 2)),
        ({"num_hidden_layers": 61, "first_k_dense_replace": 3}, (0, 3, 4)),
        (
            {"num_hidden_layers": 35, "num_kv_shared_layers": 15, "layer_types": [*[WINDOW] * 4, FULL] * 7},
            tuple(range(10)),
        ),
    ],
)
def test_a_whole_period_is_kept(part: dict[str, Any], kept: tuple[int, ...]) -> None:
    assert layers_of(part).kept == kept


def test_of_a_pattern_without_a_period_all_layers_are_kept() -> None:
    """What breaks the pattern may stand at its end: a class that goes by the pattern is right until there."""
    kinds = [WINDOW, WINDOW, FULL] * 5 + [FULL, WINDOW]
    assert cut({"num_hidden_layers": len(kinds), "layer_types": kinds})["layer_types"] == kinds


def test_of_very_many_layers_without_a_period_every_kind_is_kept_with_its_neighbour() -> None:
    kinds = ["conv", "conv", FULL, "conv", "conv", FULL, "conv", "conv", "conv", FULL] + ["conv"] * 60 + ["other"]
    part = {"num_hidden_layers": len(kinds), "layer_types": kinds}
    assert set(cut(part)["layer_types"]) == {"conv", FULL, "other"}
    assert cut(part)["num_hidden_layers"] == len(cut(part)["layer_types"]) < len(kinds)


def test_letters_are_cut_as_lists_are() -> None:
    pattern = "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-"
    small = cut({"num_hidden_layers": len(pattern), "hybrid_override_pattern": pattern})
    assert set(small["hybrid_override_pattern"]) == set("M-*")
    assert len(small["hybrid_override_pattern"]) == small["num_hidden_layers"]


def test_layers_that_are_counted_from_one_stay_so() -> None:
    full = [4, 8, 12, 16, 20, 24, 27]
    linear = [number for number in range(1, 28) if number not in full]
    small = cut({"num_hidden_layers": 27, "full_attn_layers": full, "kda_layers": linear, "first_k_dense_replace": 1})
    count = small["num_hidden_layers"]
    assert sorted(small["full_attn_layers"] + small["kda_layers"]) == list(range(1, count + 1))
    assert small["full_attn_layers"]
    assert small["kda_layers"][0] == 1
    assert small["first_k_dense_replace"] == 1


def test_layers_that_are_counted_from_nought_stay_so() -> None:
    small = cut({"num_hidden_layers": 48, "moe_layers": list(range(1, 48, 2)), "interleave_moe_layer_step": 2})
    assert small["moe_layers"] == [1]


@pytest.mark.parametrize(
    ("part", "key", "small"),
    [
        ({"first_k_dense_replace": 3}, "first_k_dense_replace", 1),
        ({"first_k_dense_replace": 0}, "first_k_dense_replace", 0),
        ({"num_kv_shared_layers": 20, "layer_types": [WINDOW, FULL] * 20}, "num_kv_shared_layers", 2),
        ({"num_kv_shared_layers": 0}, "num_kv_shared_layers", 0),
        ({"max_window_layers": 40}, "max_window_layers", 2),
        ({"max_window_layers": 20}, "max_window_layers", 1),
        ({"max_window_layers": 0}, "max_window_layers", 0),
        ({"num_nextn_predict_layers": 3}, "num_nextn_predict_layers", 1),
        ({"moe_layer_start_index": 1, "moe_layer_end_index": 39}, "moe_layer_end_index", 2),
    ],
)
def test_what_counts_layers_from_an_end_follows(part: dict[str, Any], key: str, small: int) -> None:
    assert cut({"num_hidden_layers": 40, **part})[key] == small


def test_settings_by_the_number_of_a_layer_follow_it() -> None:
    own = {str(number): {"num_key_value_heads": 4 if number % 2 else 8} for number in range(6)}
    small = cut({"num_hidden_layers": 6, "layer_types": [WINDOW, FULL] * 3, "per_layer_config": own})
    assert small["per_layer_config"] == {"0": {"num_key_value_heads": 8}, "1": {"num_key_value_heads": 4}}


def test_what_has_more_layers_than_any_model_is_not_listed() -> None:
    assert layers_of({"num_hidden_layers": 10**9, "layer_types": [FULL] * 8}).kept == (0, 1)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_few_layers_stand_for_every_published_model(path: Path) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    part = config.get("text_config") or config
    layers = layers_of(part)
    assert 1 <= len(layers.kept) <= 64
    assert all(0 <= number < layers.count for number in layers.kept)
    small = cut(part)
    for key, value in part.items():
        if isinstance(value, list) and len(value) == layers.count > 1 and key == "layer_types":
            assert set(map(str, small[key])) == set(map(str, value)), key
