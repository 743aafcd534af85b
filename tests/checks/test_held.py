"""What inspect says of quantized sources that are read: the way to the variant, and the base model."""

from __future__ import annotations

from typing import Any

import pytest

from headers import LAYERS, Tensors, facts, failures, find, judge
from mlx_publish.checks.facts import SourceFacts

P = "model.layers.0.mlp.up_proj.weight"
FP8: Tensors = {**LAYERS, P: ("F8_E4M3", (256, 128)), f"{P}_scale_inv": ("F32", (2, 1))}
BLOCK = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}


def fp8(variant: Any = "4bit", *, name: str = "acme/Tiny", card: str = "", **recipe: Any) -> SourceFacts:
    files = {"README.md": f"---\nlicense: mit\n{card}---\n".encode()}
    return facts(files, config=BLOCK, tensors=FP8, name=name, variants=[variant], **recipe)


def test_a_plain_source_has_none_of_these_checks() -> None:
    assert not {"source-way", "base-named"} & judge(facts()).keys()


@pytest.mark.parametrize(
    ("variant", "status", "words"),
    [
        ("mxfp8", "pass", "1 weights are held as fp8, 8 bits; they are repacked, if their numbers"),
        ("4bit", "pass", "read exactly, rounded once to bfloat16 and then quantized (only mxfp8 has numbers of 8-bit"),
        ("4.6bpw", "pass", "those whose bits and groups stay are repacked, others are read exactly"),
        ("4bit-gptq", "pass", "and then quantized (its method learns the weights anew)"),
        ("8bit", "warn", "a quantization of a quantization with as many bits: 1 weights"),
        ("bf16", "warn", "bf16 of a source of 8 bits: larger than it, and no more exact; 1 weights"),
        ("fp16", "warn", "they are read exactly, rounded once to float16"),
    ],
)
def test_the_way_from_a_quantized_source_to_the_variant_is_told(variant: str, status: str, words: str) -> None:
    found = find("source-way", fp8(variant))
    assert found.status == status
    assert words in found.message


@pytest.mark.parametrize("variant", ["8bit", "bf16"])
def test_a_form_that_keeps_the_numbers_of_the_source_is_the_next_step(variant: str) -> None:
    found = find("source-way", fp8(variant, name="quants/Tiny-FP8", card="base_model: acme/Tiny\n"))
    assert found.remedy == (
        "Use mode: mxfp8, which keeps the source's numbers where they allow it, or convert the model that it was made "
        "from: acme/Tiny."
    )


@pytest.mark.parametrize(
    ("name", "card", "remedy"),
    [
        ("quants/Tiny-x", "base_model: acme/Tiny\n", "Add 'base_model: acme/Tiny' to the recipe"),
        ("quants/Tiny-x", "base_model: [acme/Tiny]\nbase_model_relation: quantized\n", "Add 'base_model: acme/Tiny'"),
        ("quants/Tiny-FP8", "", "Add 'base_model: NAMESPACE/Tiny' to the recipe"),
        ("nvidia/Tiny-R1-FP4", "", "Add 'base_model: NAMESPACE/Tiny-R1' to the recipe"),
    ],
)
def test_the_base_model_is_asked_for_where_the_source_is_a_quantization_of_another(
    name: str, card: str, remedy: str
) -> None:
    source = fp8(name=name, card=card)
    assert failures(source) == ["base-named"]
    assert find("base-named", source).remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("name", "card", "recipe"),
    [
        ("deepseek/Tiny-V3", "", {}),
        ("deepseek/Tiny-V3", "base_model: deepseek/Tiny-V3-Base\nbase_model_relation: finetune\n", {}),
        ("quants/Tiny-FP8", "base_model: acme/Tiny\n", {"base_model": "acme/Tiny"}),
        ("maker/Tiny-FP8", "", {"base_model": "maker/Tiny-FP8"}),
    ],
)
def test_a_maker_who_has_no_other_form_is_the_base_model(name: str, card: str, recipe: dict[str, str]) -> None:
    assert find("base-named", fp8(name=name, card=card, **recipe)).status == "pass"


def test_refused_sources_are_not_asked_for_a_way() -> None:
    source = facts(config={**BLOCK, "model_type": "nobody-knows-it"}, tensors=FP8)
    assert not {"source-way", "base-named"} & judge(source).keys()


def test_a_base_model_other_than_the_one_on_the_sources_card_is_a_warning() -> None:
    card = "base_model: acme/Tiny\n"
    found = find("base-named", fp8(name="quants/Tiny-x", card=card, base_model="acme/Other"))
    assert (found.status, found.details["base"]) == ("warn", "acme/Tiny")
    assert "the recipe names acme/Other as the base model, and the source's card says" in found.message
    assert find("base-named", fp8(name="quants/Tiny-x", card=card, base_model="Acme/tiny")).status == "pass"
    assert find("base-named", fp8(name="quants/Tiny-FP8", base_model="acme/Tiny-Chat")).status == "pass"
