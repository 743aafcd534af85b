"""config.json: what it alone refuses, before anything large is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from headers import CONFIG, TYPES, facts, failures, find, judge
from mlx_publish.checks.facts import Loads
from mlx_publish.converters.mlx_lm import CONVERTER
from mlx_publish.model.files import MemoryFiles
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.weights import TensorInfo


@dataclass(frozen=True)
class NoHeaders(MemoryFiles):
    """A source whose weights and index must not be touched."""

    def read(self, path: str) -> bytes:
        assert path in ("config.json", "README.md", "quantize_config.json")
        return super().read(path)

    def header(self, path: str) -> tuple[TensorInfo, ...]:
        raise AssertionError(path)


def test_a_good_source_passes() -> None:
    findings = judge(facts())
    assert {id_: finding.status for id_, finding in findings.items() if finding.status != "pass"} == {
        "not-taken": "skip",
        "twin-equal": "skip",
    }


@pytest.mark.parametrize(
    ("config", "check", "words"),
    [
        ({"model_type": "lama"}, "model-type", ["cannot load the model type lama", "llama"]),
        ({"model_type": "mistral_7"}, "model-type", ["cannot load the model type mistral_7", "mistral"]),
        ({"model_type": None}, "model-type", ["no model_type", "Nearest supported: llama"]),
        ({"model_type": 7}, "model-type", ["no model_type"]),
        ({"architectures": ["LlamaForSequenceClassification"]}, "language-head", ["no language-model head", "causal"]),
        ({"architectures": ["LlamaModel"]}, "language-head", ["LlamaModel has no language-model head"]),
        ({"architectures": ["MistralEncoder"]}, "language-head", ["MistralEncoder has no language-model head"]),
        ({"architectures": ["BertForMaskedLM"]}, "language-head", ["BertForMaskedLM has no language-model head"]),
        ({"architectures": ["QwenForRewardModel"]}, "language-head", ["QwenForRewardModel has no language-model head"]),
        ({"architectures": ["ColQwen2_5"]}, "language-head", ["ColQwen2_5 gives vectors for retrieval"]),
        ({"architectures": ["ColPali"]}, "language-head", ["ColPali gives vectors"]),
        ({"architectures": ["BiQwen2"]}, "language-head", ["BiQwen2 gives vectors"]),
        ({"architectures": ["LLaDAModelLM"]}, "language-head", ["diffusion"]),
        ({"architectures": ["DiffusionGemmaForBlockDiffusion"]}, "language-head", ["diffusion"]),
        ({"is_encoder_decoder": True}, "language-head", ["encoder-decoder"]),
        ({"rope_theta": float("nan")}, "config-numbers", ["NaN at rope_theta"]),
        ({"a": [{"b": float("nan")}]}, "config-numbers", ["NaN at a[0].b"]),
        ({"model_file": "x.py"}, "no-code", ["code from the model repo (x.py)"]),
    ],
)
def test_config_alone_refuses(config: dict[str, Any], check: str, words: list[str]) -> None:
    source = facts(config=config)
    source = replace(source, source=Metadata(NoHeaders(source.source.files.contents)))  # type: ignore[attr-defined]
    finding = find(check, source)
    assert (failures(source), finding.status) == ([check], "fail")
    for word in words:
        assert word in f"{finding.message} {finding.remedy}"


def test_after_a_refusal_the_rest_is_skipped_with_the_reason() -> None:
    findings = judge(facts(config={"model_type": "lama"}))
    assert findings["weights-present"].status == findings["ids-fit"].status == "skip"
    assert findings["ids-fit"].message == "not checked, because model-type failed"


def test_an_accepted_failure_does_not_end_the_look() -> None:
    accept = [{"check": "language-head", "reason": "it is known to work"}]
    findings = judge(facts(config={"architectures": ["LlamaModel"]}, accept=accept))
    assert (findings["language-head"].status, findings["ids-fit"].status) == ("warn", "pass")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"architectures": ["Mistral3ForConditionalGeneration"], "vision_config": {"x": 1}}, "also supports images"),
        ({"architectures": ["LlavaQwenForCausalLM"], "audio_config": {"x": 1}}, "audio_config of config.json"),
    ],
)
def test_what_would_stay_behind_has_to_be_asked_for(config: dict[str, Any], words: str) -> None:
    source = facts(config=config)
    assert failures(source) == ["modality"]
    assert words in find("modality", source).message
    assert failures(facts(config=config, modality="text")) == ["modality-name"]
    insists = [{"check": "modality-name", "reason": "our clients look for it"}]
    assert failures(facts(config=config, modality="text", accept=insists)) == []


def test_a_class_that_nobody_knows_is_told() -> None:
    finding = find("language-head", facts(config={"architectures": ["Mystery"]}))
    assert finding.status == "warn"
    assert "Mystery is a causal language model is not known" in finding.message


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["GPT2LMHeadModel"]},
        {"architectures": None},
        {"architectures": "LlamaForCausalLM"},
        {"architectures": ["Mistral3ForConditionalGeneration"]},
        {"time_step_limit": [0.0, float("inf")]},
    ],
)
def test_what_is_well_passes(config: dict[str, Any]) -> None:
    assert failures(facts(config=config)) == []


def test_no_config_and_no_mlx_lm() -> None:
    assert find("model-type", facts({"config.json": None})).message == "the source has no config.json"
    assert find("model-type", replace(facts(), loads=Loads("mlx-lm", None))).status == "skip"


def test_names_that_mlx_lm_maps_are_known() -> None:
    support = CONVERTER.support()
    assert support
    assert {"mistral", "llava", "phi-msft"} <= support.types
    assert support.types >= TYPES


@pytest.mark.parametrize(
    ("files", "config", "words"),
    [
        ({"modeling_x.py": b""}, {}, "code of the source is neither run nor copied: modeling_x.py"),
        ({"m.py": b""}, {"auto_map": {"A": "m.B"}}, "which auto_map asks for, is neither run nor copied"),
        ({}, {"auto_map": {"A": "m.B"}}, "none of it is run"),
    ],
)
def test_code_is_told(files: dict[str, bytes], config: dict[str, Any], words: str) -> None:
    finding = find("no-code", facts(dict(files), config=config))
    assert finding.status == "warn"
    assert words in finding.message


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("config.json", b'{\n "model_type": "llama",\n}', "config.json:3: not valid JSON"),
        ("config.json", b"[1]", "config.json: is not a JSON object"),
        ("config.json", b"[" * 100_000, "config.json:1: is nested too deeply"),
        ("config.json", b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
        ("tokenizer.json", b'{"model": ', "tokenizer.json:1: not valid JSON"),
        ("tokenizer.json", b'{"model": 5}', "tokenizer.json: its vocabulary cannot be read"),
        ("tokenizer.json", b'{"added_tokens": [{"id": 5}]}', "tokenizer.json: its vocabulary cannot be read"),
        ("tokenizer.json", b'{"model": {"vocab": {"a": "b"}}}', "tokenizer.json: its vocabulary cannot be read"),
        ("tokenizer_config.json", b'{"a": \xff}', "tokenizer_config.json"),
        ("model.safetensors.index.json", b"{", "model.safetensors.index.json:1: not valid JSON"),
        ("model.safetensors.index.json", b"{}", "model.safetensors.index.json: has no weight_map"),
        ("quantize_config.json", b"{", "quantize_config.json:1: not valid JSON"),
    ],
)
def test_a_broken_file_is_one_failure_with_its_name(path: str, content: bytes, message: str) -> None:
    source = facts({path: content})
    assert failures(source) == ["readable"]
    assert message in find("readable", source).message
    skipped = [
        finding
        for finding in judge(source).values()
        if "cannot be read" in finding.message and finding.status == "skip"
    ]
    assert skipped


def test_the_fixture_is_as_it_is_thought_to_be() -> None:
    assert facts().source.config.raw == CONFIG
