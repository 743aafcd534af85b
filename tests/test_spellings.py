"""The table of spellings, row by row: a config as transformers 5 writes it lacks the key, and then the class reads it.

mlx-lm's own classes are asked; whether they compute the same is what the twin proves (tests/test_twin.py).
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from mlx_lm.utils import MODEL_REMAPPING  # noqa: TID251 -- the reader of the older ones
from transformers import CONFIG_MAPPING  # noqa: TID251 -- the writer of the newer spellings

from mlx_publish.model import spellings
from mlx_publish.model.normalise import VOCABULARY_ON_TOP, normalise_config
from mlx_publish.model.spellings import MISSING, RETYPED, WRAPPED, class_type, wrapper_of

CONFIGS = Path(__file__).parent / "configs"
Config = dict[str, Any]
FULL, WINDOW, LINEAR = "full_attention", "sliding_attention", "linear_attention"
BY_LAYER = {
    FULL: {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6, "partial_rotary_factor": 0.5},
    WINDOW: {"rope_type": "default", "rope_theta": 5e4},
}
PERIOD = [WINDOW, WINDOW, FULL]
OWN = {
    "0": {"head_dim": 64, "num_key_value_heads": 4, "num_attention_heads": 16, "v_head_dim": 48},
    "1": {"head_dim": 64, "num_key_value_heads": 4, "num_attention_heads": 16, "v_head_dim": 48},
    "2": {"head_dim": 128, "num_key_value_heads": 2},
}
SIZES: Config = {"hidden_size": 512, "num_attention_heads": 8, "num_hidden_layers": 3, "max_position_embeddings": 4096}
_MLP = {"mlp_layer_types": ["dense", "sparse", "sparse"]}
_DEEPSEEK: dict[str, tuple[Config, Any]] = {
    "topk_method": ({}, "noaux_tc"),
    "scoring_func": ({}, "sigmoid"),
    "moe_layer_freq": ({}, 1),
    "first_k_dense_replace": (_MLP, 1),
    "rope_scaling": ({}, None),
    "head_dim": ({}, 64),
}
_GEMMA: dict[str, tuple[Config, Any]] = {
    "rope_theta": ({"rope_parameters": BY_LAYER}, 1e6),
    "rope_local_base_freq": ({"rope_parameters": BY_LAYER}, 5e4),
    "rope_scaling": ({"rope_parameters": BY_LAYER}, {"type": "linear", "rope_type": "linear", "factor": 8.0}),
    "sliding_window_pattern": ({"layer_types": PERIOD}, 3),
}
_MOE: dict[str, tuple[Config, Any]] = {"num_experts": ({"num_local_experts": 16}, 16), "head_dim": ({}, 64)}

# For each row what a config says beside SIZES, and what the key has to be.
CASES: dict[str, dict[str, tuple[Config, Any]]] = {
    "apertus": {"mlp_bias": ({}, False), "post_norm": ({}, False), "qk_norm": ({}, True)},
    "cohere2": {"sliding_window_pattern": ({"layer_types": PERIOD}, 3)},
    "deepseek_v2": {
        "rope_scaling": ({}, {"type": "yarn", "factor": 1.0, "original_max_position_embeddings": 4096}),
    },
    "exaone": {"num_layers": ({}, 3), "layer_norm_epsilon": ({"rms_norm_eps": 1e-4}, 1e-4)},
    "exaone4": {
        "head_dim": ({}, 64), "rope_scaling": ({}, None), "sliding_window": ({}, None),
        "sliding_window_pattern": ({"layer_types": PERIOD, "sliding_window": 64}, "LLG"),
    },
    "exaone_moe": {"head_dim": ({}, 64), "is_moe_layer": (_MLP, [False, True, True])},
    "falcon_h1": {"head_dim": ({}, 64)},
    "gemma3": _GEMMA,
    "gemma3n": {key: _GEMMA[key] for key in ("rope_theta", "rope_local_base_freq")},
    "gemma4": {
        "global_head_dim": ({"layer_types": PERIOD, "per_layer_config": OWN}, 128),
        "num_global_key_value_heads": ({"layer_types": PERIOD, "per_layer_config": OWN}, 2),
    },
    "gemma4_unified": {
        "hidden_size_per_layer_input": ({}, 0),
        "global_head_dim": ({"layer_types": PERIOD, "per_layer_config": OWN}, 128),
        "num_global_key_value_heads": ({"layer_types": PERIOD, "per_layer_config": OWN}, 2),
    },
    "glm4_moe": _DEEPSEEK,
    "glm_moe_dsa": _DEEPSEEK,
    "gpt2": {"n_ctx": ({"n_positions": 1024}, 1024)},
    "gpt_bigcode": {"n_inner": ({"n_embd": 256, "n_inner": None}, 1024)},
    "gpt_neox": {
        "rotary_emb_base": ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e4}}, 5e4),
        "rotary_pct": ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.25}}, 0.25),
    },
    "kimi_linear": {
        "first_k_dense_replace": (_MLP, 1), "rope_theta": ({}, 10000.0),
        "linear_attn_config": (
            {"layer_types": [LINEAR, LINEAR, FULL], "linear_num_heads": 4, "linear_head_dim": 32},
            {"kda_layers": [1, 2], "full_attn_layers": [3], "num_heads": 4, "head_dim": 32, "short_conv_kernel_size": 4},
        ),
    },
    "lfm2": {"block_dim": ({}, 512)},
    "llama4": {
        "intermediate_size_mlp": ({"intermediate_size": 999}, 999), "use_qk_norm": ({}, True), "rope_scaling": ({}, None),
    },
    "longcat_flash": {
        "attention_method": ({}, "MLA"), "zero_expert_type": ({}, "identity"), "mla_scale_q_lora": ({}, True),
        "mla_scale_kv_lora": ({}, True),
    },
    "mamba2": {"intermediate_size": ({"expand": 2}, 1024)},
    "mellum": {"num_experts": ({"num_local_experts": 16}, 16)},
    "mimo_v2_flash": {
        "hybrid_layer_pattern": ({"layer_types": PERIOD}, [1, 1, 0]), "moe_layer_freq": (_MLP, [0, 1, 1]),
        "sliding_window_size": ({"sliding_window": 64}, 64), "layernorm_epsilon": ({"rms_norm_eps": 1e-4}, 1e-4),
        "rope_theta": ({"rope_parameters": BY_LAYER}, 1e6), "swa_rope_theta": ({"rope_parameters": BY_LAYER}, 5e4),
        "partial_rotary_factor": ({"rope_parameters": BY_LAYER}, 0.5),
        "add_swa_attention_sink_bias": ({}, True), "add_full_attention_sink_bias": ({}, False),
        "swa_num_attention_heads": ({"layer_types": PERIOD, "per_layer_config": OWN}, 16),
        "swa_num_key_value_heads": ({"num_key_value_heads": 2}, 4),
        "swa_head_dim": ({"layer_types": PERIOD, "per_layer_config": OWN}, 64),
        "swa_v_head_dim": ({"layer_types": PERIOD, "per_layer_config": OWN}, 48),
        "n_shared_experts": ({}, None), "topk_method": ({}, "noaux_tc"), "scoring_func": ({}, "sigmoid"),
    },
    "minicpm3": {
        "rope_scaling": ({}, {"type": "longrope", "original_max_position_embeddings": 4096}),
        "rope_theta": ({}, 10000.0),
    },
    "minimax_m2": {"shared_intermediate_size": ({}, 0), "rotary_dim": ({"partial_rotary_factor": 0.5}, 32)},
    "nemotron_h": {"head_dim": ({"attention_head_dim": 96}, 96)},
    "olmo3": {key: _GEMMA[key] for key in ("rope_theta", "rope_scaling")},
    "qwen3_moe": _MOE,
    "qwen3_vl": {"tie_word_embeddings": ({}, False)},
    "qwen3_vl_moe": {**_MOE, "norm_topk_prob": ({}, True), "tie_word_embeddings": ({}, False)},
    "solar_open": {
        "first_k_dense_replace": ({}, 0), "intermediate_size": ({"moe_intermediate_size": 77}, 77),
        "partial_rotary_factor": ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, 0.5),
    },
}  # fmt: skip
ROWS = [(kind, key) for kind, rows in MISSING.items() for key in rows]


def test_every_row_has_a_case_and_every_case_a_row() -> None:
    assert {kind: set(rows) for kind, rows in CASES.items()} == {kind: set(rows) for kind, rows in MISSING.items()}


@pytest.mark.parametrize(("kind", "key"), ROWS)
def test_a_key_that_a_config_lacks_is_written_as_the_class_reads_it(kind: str, key: str) -> None:
    given, wanted = CASES[kind][key]
    config = {"model_type": kind, **SIZES, **given}
    assert config.get(key) is None
    normal, changes = normalise_config(config)
    assert key in normal
    assert normal[key] == wanted
    assert any(change.key == key and change.message.startswith(f"{key} ") for change in changes)
    assert config.get(key) is None, "the source's own was changed"


@pytest.mark.parametrize(("kind", "key"), ROWS)
def test_what_stands_there_already_stays(kind: str, key: str) -> None:
    given, wanted = CASES[kind][key]
    there = {"own": 1} if isinstance(wanted, Mapping) else "own"
    assert normalise_config({"model_type": kind, **SIZES, **given, key: there})[0][key] == there


@pytest.mark.parametrize("kind", MISSING)
def test_the_same_holds_for_a_part_that_a_config_nests(kind: str) -> None:
    key, (given, wanted) = next(iter(CASES[kind].items()))
    config = {"model_type": "wrapper", "text_config": {"model_type": f"{kind}_text", **SIZES, **given}}
    if f"{kind}_text" not in WRAPPED:
        assert normalise_config(config)[0]["text_config"][key] == wanted


def module_of(kind: str) -> ModuleType:
    return importlib.import_module(f"mlx_lm.models.{MODEL_REMAPPING.get(kind, kind)}")


def source_of(module: ModuleType) -> str:
    """The code of a class, and of those beside it that it builds on."""
    values = vars(module).values()
    used = {str(value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", "")) for value in values}
    names = {module.__name__, *(name for name in used if name.startswith("mlx_lm.models."))}
    return "\n".join(inspect.getsource(importlib.import_module(name)) for name in sorted(names))


# glm4_moe has its keys from the table of glm_moe_dsa.
UNREAD = {("glm4_moe", "moe_layer_freq")}


@pytest.mark.parametrize(("kind", "key"), ROWS)
def test_the_class_has_the_key(kind: str, key: str) -> None:
    """Where a class no longer reads a key, its row may go."""
    assert (key in source_of(module_of(kind))) is ((kind, key) not in UNREAD)


@pytest.mark.parametrize("kind", [kind for kind in MISSING if kind in CONFIG_MAPPING])
def test_what_transformers_writes_by_default_is_taken_by_the_class(kind: str) -> None:
    config = json.loads(CONFIG_MAPPING[kind]().to_json_string(use_diff=False)) | {"model_type": kind}
    normal = normalise_config(config)[0]
    args = module_of(kind).ModelArgs
    needed = {
        name
        for name, parameter in inspect.signature(args).parameters.items()
        if parameter.default is inspect.Parameter.empty
    }
    assert needed <= normal.keys()
    with contextlib.suppress(ValueError):  # some classes are strict about what a default leaves open
        args.from_dict(normal)


@pytest.mark.parametrize("kind", spellings._RENAMED)
def test_values_are_written_in_the_words_of_the_class(kind: str) -> None:
    for key, names in spellings._RENAMED[kind].items():
        config = {"model_type": kind, key: [*names, "another"]}
        normal, changes = normalise_config(config)
        assert normal[key] == [*names.values(), "another"]
        assert len(changes) == 1
        assert normalise_config(normal) == (normal, [])


@pytest.mark.parametrize("kind", WRAPPED)
def test_a_text_part_for_itself_is_read_as_the_part_of_a_whole_model(kind: str) -> None:
    config = {"model_type": kind, **SIZES, "num_local_experts": 16, "eos_token_id": 7, "tie_word_embeddings": True}
    assert wrapper_of(config) == class_type(config) == WRAPPED[kind]
    normal, changes = normalise_config(config)
    assert normal["model_type"] == WRAPPED[kind]
    assert config.items() <= normal["text_config"].items()
    assert (normal["eos_token_id"], normal["tie_word_embeddings"]) == (7, True)
    assert f"{kind} as the text_config of {WRAPPED[kind]}" in [change.message for change in changes]
    assert hasattr(module_of(WRAPPED[kind]), "Model")


def test_a_dense_llama_4_is_read_as_it_is() -> None:
    assert wrapper_of({"model_type": "llama4_text", "num_local_experts": 0}) is None


@pytest.mark.parametrize("kind", RETYPED)
def test_a_type_of_another_name_is_read_under_it(kind: str) -> None:
    normal, changes = normalise_config({"model_type": kind, **SIZES})
    assert normal["model_type"] == class_type({"model_type": kind}) == RETYPED[kind]
    assert [change.message for change in changes] == [f"model_type {RETYPED[kind]}, as mlx-lm names {kind}"]
    assert hasattr(module_of(RETYPED[kind]), "Model")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json")), ids=lambda path: path.stem)
def test_what_is_written_is_read_without_a_further_change(path: Path) -> None:
    normal, _ = normalise_config(json.loads(path.read_text(encoding="utf-8")))
    assert normalise_config(normal) == (normal, [])


@pytest.mark.parametrize("odd", ["x", [], {}, [{}], -1, 0, float("inf"), float("nan"), {"a": {}}], ids=repr)
@pytest.mark.parametrize(
    "key",
    [
        "rope_parameters",
        "layer_types",
        "per_layer_config",
        "expand",
        "hidden_size",
        "partial_rotary_factor",
        "mlp_layer_types",
    ],
)
def test_strange_values_stop_nothing(key: str, odd: Any) -> None:
    for kind in (*MISSING, *spellings._RENAMED):
        config = {"model_type": kind, **SIZES, key: odd}
        normal, _ = normalise_config(config)
        assert normal.keys() >= config.keys()


@pytest.mark.parametrize("given", [{}, {"tie_word_embeddings": True}])
def test_a_tied_minicpm3_gets_a_head_of_its_own_which_its_class_scales(given: Config) -> None:
    config, changes = normalise_config({"model_type": "minicpm3", **SIZES, **given})
    assert config["tie_word_embeddings"] is False
    assert any(change.message.startswith("tie_word_embeddings False") for change in changes)


def test_a_number_of_exaone4_becomes_letters() -> None:
    config, _ = normalise_config({"model_type": "exaone4", **SIZES, "sliding_window": 64, "sliding_window_pattern": 4})
    assert config["sliding_window_pattern"] == "LLLG"


def test_a_whole_model_has_the_size_of_its_vocabulary_on_top() -> None:
    config, changes = normalise_config({"model_type": "gemma3", "text_config": {**SIZES, "vocab_size": 320}})
    assert config["vocab_size"] == 320
    assert "vocab_size 320 on top from text_config" in [change.message for change in changes]
    assert (
        normalise_config({"model_type": "gemma3", "vocab_size": 1, "text_config": {"vocab_size": 320}})[0]["vocab_size"]
        == 1
    )


def test_a_whole_model_whose_class_reads_the_text_part_alone_keeps_its_config() -> None:
    config, changes = normalise_config({"model_type": "mistral3", "text_config": {**SIZES, "vocab_size": 320}})
    assert "vocab_size" not in config
    assert changes == []


def test_the_types_whose_class_takes_the_size_from_the_top_are_those_of_mlx_lm() -> None:
    folder = Path(inspect.getfile(importlib.import_module("mlx_lm.models.gemma3"))).parent
    classes = {path.stem for path in folder.glob("*.py") if 'self.text_config["vocab_size"]' in path.read_text("utf-8")}
    other_names = {kind for kind, name in MODEL_REMAPPING.items() if name in classes}
    assert classes | other_names == VOCABULARY_ON_TOP
