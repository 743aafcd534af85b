"""The proof of a model that sees: its twin keeps its tower, is shown pictures, and says which part differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.checks.base import Says
from mlx_publish.checks.twin import judge, judge_pictures
from mlx_publish.children.engine import Children
from mlx_publish.children.other_python import Python
from mlx_publish.children.torch import VARIABLE, find_torch
from mlx_publish.converters.mlx_vlm import CONVERTER
from mlx_publish.model.normalise import normalise_config
from mlx_publish.source import twin
from mlx_publish.source.twin import Prover, Sees
from mlx_publish.torch_check.sizes import VOCABULARY
from tensor_file import read_tensors
from vision_twin_slips import SLIPS, program_with

WITHIN = 1e-6
"""Squared: a thousandth of the spread of the logits."""
Config = dict[str, Any]


@dataclass
class Reading:
    """What mlx-vlm is shown of a config, as if its class ignored what stands there; parts by dots."""

    instead: Mapping[str, object] = field(default_factory=dict)

    def __call__(self, config: Mapping[str, Any]) -> Config:
        return changed(normalise_config(config, senses=True)[0], self.instead)


def changed(config: Config, instead: Mapping[str, object]) -> Config:
    made: Config = json.loads(json.dumps(config))
    for key, value in instead.items():
        *parts, last = key.split(".")
        place = made
        for part in parts:
            place = place[part]
        place[last] = value
    return made


@dataclass(frozen=True)
class Proof:
    """One prover for all cases: to start torch takes seconds."""

    prover: Prover
    reading: Reading
    models: Path
    vision: Path

    def __call__(
        self,
        family: str,
        instead: Mapping[str, object] | None = None,
        program: Path | None = None,
        keys: Mapping[str, object] | None = None,
    ) -> tuple[Says, Says]:
        """Return what is said of text and of pictures; `keys` are of the source's own config."""
        folder = self.models / family
        config = changed(read(folder / "config.json"), keys or {})
        nested = read(folder / "processor_config.json").get("image_processor")
        names = [name for path in folder.glob("*.safetensors") for name in read_tensors(path)]
        self.reading.instead = instead or {}
        with Children() as children:
            children.use(CONVERTER.module, Python(program or self.vision))
            self.prover._children = children
            found = self.prover.prove(config, Sees(nested or read(folder / "preprocessor_config.json"), names))
        return judge(found, config, "mlx-vlm"), judge_pictures(found, config, "mlx-vlm")


def read(path: Path) -> Config:
    found: Config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


@pytest.fixture(scope="module")
def proof(
    torch_python: Path, vision_python: Path, vision_models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proof]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(torch_python))
        torch = find_torch()
    assert not torch.reason
    reading = Reading()
    with Prover(torch, tmp_path_factory.mktemp("twins"), lambda _: None, reading) as prover:
        yield Proof(prover, reading, vision_models, vision_python)


@pytest.mark.parametrize(
    "family",
    ["idefics3", "qwen3_vl", "qwen2_5_vl", "gemma4", "mistral3", "lfm2_vl", "llava", "llava_onevision", "glm_ocr"],
)
def test_what_mlx_vlm_computes_of_pictures_as_transformers_does_is_proven(proof: Proof, family: str) -> None:
    text, pictures = proof(family)
    assert text.status == "pass", text.message
    assert pictures.status == "pass", pictures.message
    assert "mlx-vlm computes of images what transformers" in pictures.message
    one, two = pictures.details["pictures"]
    assert (one["pictures"], two["pictures"]) == (1, 2)
    assert max(one["nmse"], two["nmse"]) < WITHIN
    assert two["positions"] > one["positions"]


@pytest.fixture
def no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no key of the config need not be looked for among its keys."""
    monkeypatch.setattr(twin, "_BLAME", 0.0)


@pytest.mark.usefixtures("no_search")
@pytest.mark.parametrize(
    ("family", "name", "words"),
    [
        ("qwen3_vl", "grid_swapped", "the tower or the projector differs"),
        ("qwen3_vl", "patches_reversed", "the tower or the projector differs"),
        ("qwen3_vl", "tower_turns_otherwise", "the tower or the projector differs"),
        ("qwen3_vl", "features_reversed", "the order of the image tokens differs"),
        ("llava", "gelu_exact", "the tower or the projector differs"),
        ("llava", "bias_dropped", "the tower or the projector differs"),
        ("llava", "features_halved", "the scale of what the tower and the projector give differs"),
    ],
)
def test_a_class_that_sees_otherwise_is_refused_with_the_part(
    proof: Proof, tmp_path: Path, family: str, name: str, words: str
) -> None:
    assert name in SLIPS
    text, pictures = proof(family, program=program_with(name, proof.vision, tmp_path))
    assert text.status == "pass", text.message
    assert pictures.status == "fail"
    assert words in pictures.message
    assert "does not compute what transformers" in pictures.message
    assert "accept the check twin-pictures with a reason" in pictures.remedy


@pytest.mark.parametrize(
    ("family", "key", "value", "instead"),
    [("mistral3", "vision_config.rope_theta", 500.0, 10_000.0), ("llava", "vision_feature_layer", -1, -2)],
)
def test_a_class_that_ignores_a_key_of_its_tower_is_refused_with_the_key(
    proof: Proof, family: str, key: str, value: object, instead: object
) -> None:
    text, pictures = proof(family, {key: instead}, keys={key: value})
    assert (text.status, pictures.status) == ("pass", "fail"), text.message
    assert f"it ignores {key} ({value})" in pictures.message


NEXT = {"image_token_id": VOCABULARY - 2, "image_token_index": VOCABULARY - 2}


@pytest.mark.usefixtures("no_search")
@pytest.mark.parametrize(
    ("family", "instead"), [("idefics3", NEXT), ("qwen3_vl", {"vision_config.spatial_merge_size": 1})]
)
def test_a_class_that_looks_for_another_token_or_merges_otherwise_is_refused(
    proof: Proof, family: str, instead: Mapping[str, object]
) -> None:
    says = proof(family, instead)
    refused = next(one for one in says if one.status == "fail")
    assert "mlx-vlm" in refused.message


@pytest.mark.usefixtures("no_search")
def test_gemma_3_is_refused_because_of_its_attention_both_ways(proof: Proof) -> None:
    text, pictures = proof("gemma3")
    assert (text.status, pictures.status) == ("pass", "fail"), text.message
    assert "the attention between tokens of one picture, which see each other both ways differs" in pictures.message


def test_an_activation_that_the_class_does_not_read_is_named(proof: Proof) -> None:
    text, pictures = proof("qwen3_vl", keys={"vision_config.hidden_act": "silu"})
    assert (text.status, pictures.status) == ("pass", "fail")
    assert "it ignores vision_config.hidden_act (silu)" in pictures.message


def test_a_processor_that_cannot_be_asked_leaves_pictures_unproven_and_is_told(proof: Proof) -> None:
    proof.reading.instead = {}
    config = read(proof.models / "idefics3" / "config.json")
    with Children() as children:
        children.use(CONVERTER.module, Python(proof.vision))
        proof.prover._children = children
        settings = {"image_processor_type": "NoSuchProcessor", "size": {"longest_edge": -5}}
        found = proof.prover.prove(config, Sees(settings, []))
    assert judge(found, config, "mlx-vlm").status == "pass"
    pictures = judge_pictures(found, config, "mlx-vlm")
    assert pictures.status == "skip"
    assert pictures.details["told"]
    assert "what mlx-vlm computes of images is not proven: its image processor cannot be used" in pictures.message
