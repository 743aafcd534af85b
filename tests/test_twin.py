"""The proof of an architecture: equal ones pass, others are refused with key and position, whatever class ignores it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.checks.base import Says
from mlx_publish.checks.twin import judge
from mlx_publish.children.torch import VARIABLE, find_torch
from mlx_publish.model.normalise import normalise_config
from mlx_publish.source.twin import Prover

CONFIGS = Path(__file__).parent / "configs"
Config = Mapping[str, Any]
FAR = 1_000_000

LLAMA: Config = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
    "intermediate_size": 1024,
    "vocab_size": 32000,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 2048,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048, "attention_factor": 2.0}
GEMMA2: Config = {
    **LLAMA,
    "model_type": "gemma2",
    "architectures": ["Gemma2ForCausalLM"],
    "head_dim": 64,
    "sliding_window": 8192,
    "attn_logit_softcapping": 1.0,
    "final_logit_softcapping": 1.0,
    "query_pre_attn_scalar": 1024,
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
}
GEMMA3: Config = {
    **LLAMA,
    "model_type": "gemma3_text",
    "architectures": ["Gemma3ForCausalLM"],
    "head_dim": 64,
    "sliding_window": 512,
    "sliding_window_pattern": 2,
    "query_pre_attn_scalar": 64,
    "rope_theta": 1_000_000.0,
    "rope_local_base_freq": 50_000.0,
    "hidden_activation": "gelu_pytorch_tanh",
    "tie_word_embeddings": True,
}
GRANITE: Config = {
    **LLAMA,
    "model_type": "granite",
    "architectures": ["GraniteForCausalLM"],
    "attention_multiplier": 0.05,
    "embedding_multiplier": 12.0,
    "residual_multiplier": 0.22,
    "logits_scaling": 8.0,
    "rope_theta": 10_000.0,
    "attention_bias": False,
    "mlp_bias": False,
}
QWEN3_MOE: Config = {
    **LLAMA,
    "model_type": "qwen3_moe",
    "architectures": ["Qwen3MoeForCausalLM"],
    "head_dim": 64,
    "num_experts": 16,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 128,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "rope_theta": 10_000.0,
}
DEEPSEEK: Config = {
    **LLAMA,
    "model_type": "deepseek_v3",
    "architectures": ["DeepseekV3ForCausalLM"],
    "num_key_value_heads": 8,
    "q_lora_rank": 64,
    "kv_lora_rank": 64,
    "qk_nope_head_dim": 64,
    "qk_rope_head_dim": 32,
    "v_head_dim": 64,
    "n_routed_experts": 16,
    "n_shared_experts": 1,
    "num_experts_per_tok": 4,
    "moe_intermediate_size": 128,
    "n_group": 4,
    "topk_group": 2,
    "first_k_dense_replace": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "rope_theta": 10_000.0,
}
SMOLLM3: Config = {
    **LLAMA,
    "model_type": "smollm3",
    "architectures": ["SmolLM3ForCausalLM"],
    "rope_theta": 10_000.0,
    "no_rope_layers": [1, 1, 1, 0],
    "no_rope_layer_interval": 4,
}
STABLELM: Config = {
    **LLAMA,
    "model_type": "stablelm",
    "architectures": ["StableLmForCausalLM"],
    "partial_rotary_factor": 0.25,
    "layer_norm_eps": 1e-5,
    "use_qkv_bias": False,
    "use_parallel_residual": False,
    "qk_layernorm": False,
    "rope_theta": 10_000.0,
    "num_key_value_heads": 8,
}


@dataclass
class Reading:
    """What mlx-lm is shown of a config, with other values of some keys, as if its class ignored what stands there."""

    instead: Config = field(default_factory=dict)

    def __call__(self, config: Config) -> Config:
        return normalise_config(config)[0] | dict(self.instead)


@dataclass(frozen=True)
class Proof:
    """One prover for all cases: to start torch takes seconds."""

    prover: Prover
    reading: Reading

    def __call__(self, config: Config, instead: Config | None = None) -> Says:
        self.reading.instead = instead or {}
        return judge(self.prover.prove(config), config)


@pytest.fixture(scope="session")
def proof(torch_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proof]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(torch_python))
        torch = find_torch()
    assert not torch.reason
    reading = Reading()
    with Prover(torch, tmp_path_factory.mktemp("twins"), lambda _: None, reading) as prover:
        yield Proof(prover, reading)


def published(name: str, **changes: Any) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((CONFIGS / f"{name}.json").read_text(encoding="utf-8"))
    return config | changes


@pytest.mark.parametrize(
    "name",
    [
        "Llama-3.2-1B-Instruct",
        "Qwen3-0.6B",
        "pythia-1b",
        "GLM-4-32B-0414",
        "SmolLM3-3B-Base",  # rope of several kinds
        "gemma-3-1b-it",
        "c4ai-command-r7b-12-2024",
        "Olmo-3-7B-Instruct",
        "gemma-4-E4B",  # windows, kinds of layers
        "Mixtral-8x7B-v0.1",
        "Qwen3-30B-A3B",  # experts
        "DeepSeek-V2-Lite",
        "DeepSeek-V3",
        "GLM-4.7-Flash",  # latent attention
        "Qwen3.5-27B",
        "LFM2-1.2B",
        "granite-4.0-h-350m",
        "mamba-370m-hf",  # hybrids
        "gemma-3-4b-it",
        "Llama-4-Scout-17B-16E-Instruct",  # beside a tower
    ],
)
def test_what_mlx_lm_computes_as_transformers_does_is_proven(proof: Proof, name: str) -> None:
    says = proof(published(name))
    assert says.status == "pass", says.message
    assert "mlx-lm computes what transformers" in says.message
    assert max(text["nmse"] for text in says.details["texts"]) < 1e-6


SMALL_JAMBA = {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 1}


@pytest.mark.parametrize(
    ("config", "key", "words"),
    [
        (
            {"name": "Mistral-7B-v0.1"},
            "sliding_window",
            "from position 4,096 on (sliding_window): it ignores sliding_window (4096)",
        ),
        (
            {"name": "Phi-3.5-mini-instruct"},
            "rope_scaling.short_factor",
            "in short texts only: it ignores rope_scaling.short_factor",
        ),
        ({"name": "Falcon-H1-0.5B-Base"}, "key_multiplier", "from position 1 on: it ignores key_multiplier (0.39"),
        ({"name": "AI21-Jamba-1.5-Mini", **SMALL_JAMBA}, "num_experts_per_tok", "it ignores num_experts_per_tok (2)"),
        (
            {"name": "glm-4-9b-chat-hf"},
            "partial_rotary_factor",
            "partial_rotary_factor (absent, so its default applies)",
        ),
        (
            {"name": "ERNIE-4.5-21B-A3B-PT"},
            None,
            "its class has no place for model.layers.1.mlp.moe_statics.e_score_correction_bias",
        ),
    ],
)
def test_what_a_class_lacks_is_refused_with_key_and_position(
    proof: Proof, config: Config, key: str | None, words: str
) -> None:
    says = proof(published(**config))
    assert says.status == "fail"
    assert words in says.message
    assert says.details["blame"] == key
    assert "accept the check twin-equal with a reason" in says.remedy


# A config, what its class is shown in the place of the key, and the key that has to be named.
IGNORED: dict[str, tuple[Config, Config, str]] = {
    "rope_theta": ({**LLAMA, "rope_theta": 500_000.0}, {"rope_theta": 10_000.0}, "rope_theta"),
    "llama3": ({**LLAMA, "rope_theta": 10_000.0, "rope_scaling": LLAMA3}, {"rope_scaling": None}, "rope_scaling"),
    "linear": (
        {**LLAMA, "rope_theta": 10_000.0, "rope_scaling": {"type": "linear", "factor": 4.0}},
        {"rope_scaling": None},
        "rope_scaling",
    ),
    "a factor of yarn": (
        {**LLAMA, "rope_theta": 10_000.0, "rope_scaling": YARN},
        {"rope_scaling": {**YARN, "mscale": 1.0}},
        "rope_scaling.attention_factor",
    ),
    "partial_rotary_factor": (STABLELM, {"partial_rotary_factor": 1.0}, "partial_rotary_factor"),
    "sliding_window": (GEMMA3, {"sliding_window": FAR}, "sliding_window"),
    "rope_local_base_freq": (GEMMA3, {"rope_local_base_freq": 10_000.0}, "rope_local_base_freq"),
    "layer_types": (
        {
            **{key: value for key, value in GEMMA3.items() if key != "sliding_window_pattern"},
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
        {"sliding_window_pattern": 1},
        "layer_types",
    ),
    "final_logit_softcapping": (GEMMA2, {"final_logit_softcapping": 1e4}, "final_logit_softcapping"),
    "attn_logit_softcapping": (GEMMA2, {"attn_logit_softcapping": 1e4}, "attn_logit_softcapping"),
    "query_pre_attn_scalar": (GEMMA2, {"query_pre_attn_scalar": 32}, "query_pre_attn_scalar"),
    "attention_multiplier": (GRANITE, {"attention_multiplier": 1.0}, "attention_multiplier"),
    "embedding_multiplier": (GRANITE, {"embedding_multiplier": 1.0}, "embedding_multiplier"),
    "residual_multiplier": (GRANITE, {"residual_multiplier": 1.0}, "residual_multiplier"),
    "logits_scaling": (GRANITE, {"logits_scaling": 1.0}, "logits_scaling"),
    "norm_topk_prob": (QWEN3_MOE, {"norm_topk_prob": False}, "norm_topk_prob"),
    "routed_scaling_factor": (DEEPSEEK, {"routed_scaling_factor": 1.0}, "routed_scaling_factor"),
    "n_group": (DEEPSEEK, {"n_group": 1, "topk_group": 1}, "n_group"),
    "no_rope_layers": (SMOLLM3, {"no_rope_layers": [1] * 4}, "no_rope_layers"),
    "hidden_act": ({**LLAMA, "hidden_act": "gelu", "rope_theta": 10_000.0}, {}, "hidden_act"),
    "rms_norm_eps": ({**LLAMA, "rms_norm_eps": 0.5, "rope_theta": 10_000.0}, {"rms_norm_eps": 1e-5}, "rms_norm_eps"),
}


@pytest.mark.parametrize("name", IGNORED)
def test_a_key_that_the_class_ignores_is_named(proof: Proof, name: str) -> None:
    config, instead, key = IGNORED[name]
    says = proof(config, instead)
    assert says.status == "fail", says.message
    assert says.details["blame"] == key, says.message
    assert f"it ignores {key} (" in says.message


@pytest.mark.parametrize(
    "config",
    [LLAMA, GEMMA2, GEMMA3, GRANITE, QWEN3_MOE, DEEPSEEK, SMOLLM3, STABLELM],
    ids=lambda config: config["model_type"],
)
def test_what_is_sabotaged_is_equal_without_it(proof: Proof, config: Config) -> None:
    says = proof(config)
    assert says.status == "pass", says.message


@pytest.mark.parametrize(
    ("config", "instead", "lost"),
    [
        ({**LLAMA, "rope_theta": 10_000.0}, {"tie_word_embeddings": True}, "lm_head.weight"),
    ],
)
def test_a_tensor_that_the_class_leaves_out_is_named(proof: Proof, config: Config, instead: Config, lost: str) -> None:
    says = proof(config, instead)
    assert says.status == "fail"
    assert f"its class has no place for {lost}" in says.message


def test_a_config_that_transformers_5_spells_otherwise_is_proven_too(proof: Proof) -> None:
    config = {**LLAMA, "rope_parameters": {**LLAMA3, "rope_theta": 500_000.0}, "dtype": "bfloat16"}
    assert proof(config).status == "pass"


HOSTILE: dict[str, Callable[[], Config]] = {
    "a billion layers": lambda: {**LLAMA, "num_hidden_layers": 10**9},
    "texts in the place of numbers": lambda: {**LLAMA, "hidden_size": "512", "num_attention_heads": "many"},
    "a list in the place of rope": lambda: {**LLAMA, "rope_scaling": [1, 2]},
    "a type that nobody knows": lambda: {**LLAMA, "model_type": "unheard-of", "architectures": None},
    "code of its own": lambda: {
        **LLAMA,
        "model_type": "own",
        "architectures": ["Own"],
        "auto_map": {"AutoModelForCausalLM": "own.Own"},
    },
    "no heads": lambda: {**LLAMA, "num_attention_heads": 0},
    "long numbers": lambda: {**LLAMA, "eos_token_id": int("9" * 4000), "bos_token_id": int("8" * 4000)},
    "kinds of layers that are dicts": lambda: {**LLAMA, "layer_types": [{}] * 4},
    "two hundred levels": lambda: {**LLAMA, "text_config": nested(200, LLAMA)},
}


def nested(levels: int, leaf: Config) -> Config:
    found = leaf
    for _ in range(levels):
        found = {"text_config": found}
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_a_strange_config_neither_stops_nor_ends_the_child(proof: Proof, name: str) -> None:
    worker = proof.prover._child._worker
    says = proof(HOSTILE[name]())
    assert says.status in ("skip", "pass"), says.message
    if says.status == "skip":
        assert says.message.startswith("the architecture is not proven: ")
        assert len(says.message) < 500
    assert worker
    assert worker.lives()
