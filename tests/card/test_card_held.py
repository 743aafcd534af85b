"""What a card says of a source that is quantized."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_publish.card.render import again, render_card
from samples import COMMIT, make_evidence, record

HELD = {"method": "AWQ, 4 bits", "bits": 4, "weights": 14, "dtype": "bfloat16"}
READ = {"repacked": 14, "quantized": 0, "apart": 0, "compared": 14, "rounded": 0, "off": 0}


def said(base: str | None, *, fidelity: dict[str, Any] | None = None, **read: int | float) -> str:
    found = make_evidence()
    found["source"] |= {"repo": "quants/Tiny-AWQ", "name": "Tiny-AWQ", "base_model": base, "held": HELD}
    found["model"]["read_from"] = READ | read
    found["fidelity"] |= fidelity or {}
    return render_card("x", "x", "", record(**found))


def test_the_first_sentence_names_what_was_converted_and_what_that_was_made_from() -> None:
    text = said("acme/Tiny")
    first = next(line for line in text.splitlines() if "conversion of" in line)
    assert (
        "conversion of [quants/Tiny-AWQ](https://huggingface.co/quants/Tiny-AWQ), a quantized form (AWQ, 4 bits) of "
        "[acme/Tiny](https://huggingface.co/acme/Tiny), "
    ) in first
    assert "authors of [acme/Tiny](https://huggingface.co/acme/Tiny), for its quantized form to those of" in text


def test_a_maker_who_publishes_one_form_is_named_once() -> None:
    text = said("quants/Tiny-AWQ")
    assert "[quants/Tiny-AWQ](https://huggingface.co/quants/Tiny-AWQ), which holds quantized weights (AWQ, 4" in text
    assert "quantized form" not in text


def test_the_source_is_not_called_unquantized_and_its_own_loss_is_not_claimed() -> None:
    text = said("acme/Tiny")
    assert "The converted model and the dequantized source read the same text" in text
    assert "they were dequantized to bfloat16" in text
    assert "unquantized source" not in text
    assert "- How much the quantization of the source itself costs was not measured." in text


def test_beside_another_variant_nothing_is_said_of_a_dequantized_source() -> None:
    against = {"what": "variant", "label": "8bit", "bits_per_weight": 8.5}
    text = said("acme/Tiny", fidelity={"against": against})
    assert "The converted model and the variant 8bit (8.50 bits per weight) read the same text" in text
    assert "dequantized to" not in text


@pytest.mark.parametrize(
    ("read", "words"),
    [
        ({}, "repacked: integers and scales are the source's.\n"),
        ({"rounded": 9, "off": 0.08}, "repacked: the integers are the source's. Scale or bias of 9 groups is rounded"),
        ({"repacked": 10}, "10 of them repacked: integers and scales are the source's; the others dequantized exactly"),
    ],
)
def test_scales_that_were_rounded_are_not_called_the_sources(read: dict[str, Any], words: str) -> None:
    assert words in said("acme/Tiny", **read)


@pytest.mark.parametrize(
    ("drafter", "words"),
    [
        ({"bits": None, "group_size": None}, "--mtp keep"),
        ({"bits": 8, "group_size": 64}, "--mtp 8bit"),
        ({"bits": 8, "group_size": 32}, "--mtp 8bit # in a recipe, with mtp: {bits: 8, group_size: 32}"),
    ],
)
def test_the_command_that_makes_it_again_is_not_refused_and_makes_all_of_it(
    drafter: dict[str, Any], words: str
) -> None:
    found = make_evidence()
    found["source"] |= {"base_model": "acme/Base", "held": HELD, "modality": "text"}
    made = {"folder": "mtp", "model_type": "x", "block_size": 3, "tensors": 1, "weight_bytes": 1, "parameters": 1}
    assert again(record(**found, drafter=made | drafter)) == (
        f"mlx-publish convert --source acme/Tiny --revision {COMMIT} --base-model acme/Base --modality text --bits 4 "
        f"--group-size 64 {words}"
    )


def test_a_model_with_an_adapter_is_compared_with_its_base_and_the_adapter() -> None:
    adapter: dict[str, Any] = {"name": "Lora", "repo": "ada/Lora", "identity": COMMIT, "kind": "lora", "maker": "peft"}
    adapter |= {"rank": 4, "tensors": 8, "licence": "mit"}
    text = render_card("x", "x", "", record(adapter=adapter))
    assert "The converted model and the unquantized base with the adapter read the same text" in text
