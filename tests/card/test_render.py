"""Cards, byte for byte.

To write the golden files anew after a change of the template: `MLX_PUBLISH_GOLDEN=write pytest tests/card`.
"""

from __future__ import annotations

import copy
import os
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from hostile import HOSTILE
from mlx_publish.card.render import load_as, render, render_card
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.recipes.recipe import Destination, Recipe, Variant
from samples import COMMIT, judged, make_evidence, make_recipe
from samples_of_plans import make_learned, make_planned
from samples_that_see import make_blind, make_hearing, make_seeing

GOLDEN = Path(__file__).parent / "golden"
FULL = make_evidence()
H100 = "NVIDIA H100 80GB HBM3"


def folded() -> dict[str, Any]:
    smoke = copy.deepcopy(FULL["smoke"])
    smoke["system"] = "first-user"
    smoke["exchange"] |= {"messages": [{"role": "user", "content": "Be brief.\n\nWhat is the Moon?"}], "stop": "length"}
    cpu = FULL["benchmark"] | {"device": "cpu", "computed_in": "float32"}
    return make_evidence(smoke=smoke, benchmark=cpu, fidelity=FULL["fidelity"] | {"computed_in": "float32"})


def cuda() -> dict[str, Any]:
    """Measured on an NVIDIA GPU, with its ladder."""
    machine = dict.fromkeys(FULL["benchmark"]["machine"]) | {
        "system": "Linux 6.8.0", "chip": "Intel(R) Xeon(R) Platinum 8480+", "cores": 16, "memory_bytes": 128 << 30,
        "arch": "x86_64", "python": "3.13.1", "gpu": H100, "gpu_memory_bytes": 81559 << 20, "gpu_driver": "580.65.06",
    }  # fmt: skip
    speed = FULL["benchmark"] | {"backend": "cuda", "gpu": H100, "machine": machine}
    ladder = [rung | {"chip": H100, "backend": "cuda"} for rung in FULL["ladder"]]
    return make_evidence(benchmark=speed, ladder=ladder)


def unmeasured() -> dict[str, Any]:
    return make_evidence(
        smoke=None,
        fidelity=None,
        benchmark=None,
        ladder=FULL["ladder"][:1],
        checks=[],
        config={"context": None},
        missing={
            "smoke": "",
            "fidelity": ", because the stage fidelity was refused",
            "benchmark": ", because the last measurement was of different bytes",
        },
    )


def of_variant(**changes: Any) -> dict[str, Any]:
    return make_evidence(variant=FULL["variant"] | changes)


def from_folder() -> dict[str, Any]:
    """What nobody named a base model for, published alone into a folder, by a template that takes no system text."""
    licence = {"id": "other", "name": "Own licence", "link": "LICENSE"}
    source = {"name": "My Model", "repo": None, "identity": "f" * 64, "base_model": None, "pipeline_tag": None}
    alone = [FULL["ladder"][0] | {"repo": None}]
    destination = {"name": "My Model", "repo": None}
    smoke = copy.deepcopy(FULL["smoke"]) | {"system": "own-turn"}
    smoke["exchange"]["messages"] = [{"role": "user", "content": text} for text in ("Be brief.", "What is the Moon?")]
    return make_evidence(
        source=source, licence=licence, ladder=alone, destination=destination, smoke=smoke, language=["en", "no", "de"]
    )


def proven() -> dict[str, Any]:
    """Compared with transformers, and with the widest variant because the source is too large; it can think."""
    reference = {
        "positions": 256,
        "nmse": 4.1e-13,
        "worst_position": 2e-12,
        "same_first_choice": 1.0,
        "problem": "",
        "against": "transformers",
        "versions": {"transformers": "5.24.0"},
        "not_covered": ["sliding window of 4096"],
    }
    against = {"what": "variant", "label": "8bit", "bits_per_weight": 8.5012}
    smoke = FULL["smoke"] | {"options": {"enable_thinking": False}}
    fidelity = FULL["fidelity"] | {"against": against, "reference": reference}
    checks = [*FULL["checks"], judged("fidelity", "architecture-proven", "pass", "it is what transformers computes")]
    proof = {
        "against": "transformers",
        "class": "LlamaForCausalLM",
        "versions": {"torch": "2.13.0", "transformers": "5.24.0"},
        "mlx_lm": {"mlx": "0.30.0", "mlx-lm": "0.30.0"},
        "texts": [{"nmse": error, "mean_kld": 1e-12, "same_first_choice": 1.0} for error in (2e-13, 3.4e-12)],
    }
    ladder = [
        rung | {"against": "8bit", "device": device, "chip": chip}
        for rung, device, chip in zip(FULL["ladder"], ("gpu", "cpu"), ("Apple M4", "AMD EPYC"), strict=True)
    ]
    ladder[1] |= {"mean_kld": None, "mean_kld_error": None, "same_first_choice": None, "against": None}
    made_on = {"device": "cpu", "backend": "cpu", "architecture": "arm64", "system": "Darwin", "mlx": "0.32.4"}
    model = FULL["model"] | {"made_on": made_on}
    return make_evidence(fidelity=fidelity, smoke=smoke, checks=checks, ladder=ladder, proof=proof, model=model)


def clustered() -> dict[str, Any]:
    """With the figures of llama.cpp's whole table, and errors by passage."""
    more = {
        "p90_kld": 0.0912, "p999_kld": 0.8123, "mean_delta_p": -0.0031, "rms_delta_p": 0.0412, "correlation": 0.9931,
        "passages": 23, "errors_by": "passage", "error_factor": 2.0912,
    }  # fmt: skip
    return make_evidence(fidelity=FULL["fidelity"] | more)


CARDS = {
    "clustered": ("Tiny-4bit", "acme/Tiny-4bit", "", clustered()),
    "full": ("Tiny-4bit", "acme/Tiny-4bit", "", FULL),
    "folded": ("Tiny-4bit", "acme/Tiny-4bit", "", folded()),
    "cuda": ("Tiny-4bit", "acme/Tiny-4bit", "", cuda()),
    "unmeasured": ("Tiny-4bit", "acme/Tiny-4bit", "", unmeasured()),
    "unquantized": (
        "Tiny-bf16",
        "acme/Tiny-bf16",
        "",
        of_variant(label="bf16", quantized=False, bits=None, group_size=None, mode=None, dtype="bfloat16"),
    ),
    "mixed": (
        "Tiny-mixed",
        "acme/Tiny-mixed",
        "",
        of_variant(label="mixed_3_6", bits=None, mixed="mixed_3_6", dtype="float16"),
    ),
    "mxfp4": ("Tiny-mxfp4", "acme/Tiny-mxfp4", "", of_variant(label="mxfp4", group_size=32, mode="mxfp4")),
    "planned": ("Tiny-4.5bpw", "acme/Tiny-4.5bpw", "", make_planned()),
    "learned": ("Tiny-4bit-awq", "acme/Tiny-4bit-awq", "", make_learned()),
    "proven": ("Tiny-4bit", "acme/Tiny-4bit", "", proven()),
    "seeing": ("Tiny-4bit", "acme/Tiny-4bit", "", make_seeing()),
    "hearing": ("Tiny-4bit", "acme/Tiny-4bit", "", make_hearing()),
    "blind": ("Seer", "Seer", "", make_blind()),
    "folder": ("My Model", "My Model", "\nA **note** of my own.\n\n- and a list\n", from_folder()),
}


def card(name: str, load_as: str, notes: str, evidence: dict[str, Any]) -> str:
    return render_card(name, load_as, notes, Evidence.of(evidence))


@pytest.mark.parametrize("name", CARDS)
def test_the_card_is_the_golden_one(name: str) -> None:
    text, golden = card(*CARDS[name]), GOLDEN / f"{name}.md"
    if os.environ.get("MLX_PUBLISH_GOLDEN") == "write":
        golden.write_text(text, encoding="utf-8", newline="\n")
    assert text.encode() == golden.read_bytes()


def test_there_is_no_golden_card_that_nobody_renders() -> None:
    assert {path.stem for path in GOLDEN.glob("*.md")} == set(CARDS)


@pytest.mark.parametrize("name", CARDS)
def test_the_layout_is_clean(name: str) -> None:
    text = card(*CARDS[name])
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    tokens = parse(text)
    headings = [tokens[at + 1].content for at, token in enumerate(tokens) if token.type == "heading_open"]
    assert len(headings) == len(set(headings))
    assert headings[0] == CARDS[name][0]
    assert not [token.type for token in tokens if token.type.startswith("html")]
    assert tokens[3].type == "paragraph_open"


def test_only_what_was_measured_is_claimed() -> None:
    text = card("x", "x", "", unmeasured())
    assert "**Fidelity** was not measured, because the stage fidelity was refused." in text
    assert "**Speed** was not measured, because the last measurement was of different bytes." in text
    for word in ("KLD", "tokens/s", "## Example", "first choice", "Context", "What to know"):
        assert word not in text


def test_recipe_and_evidence_give_title_name_and_notes(tmp_path: Path) -> None:
    recipe = make_recipe(card={"notes": "Mine."})
    assert load_as(recipe, Variant()) == "acme/Tiny-4bit"
    assert render(recipe, Variant(), Evidence.of(FULL)) == card("Tiny-4bit", "acme/Tiny-4bit", "Mine.", FULL)
    folder = Recipe(recipe.spec, "tiny", None, {"4bit": Destination(folder=tmp_path / "Out")})
    assert load_as(folder, Variant()) == "Out"


def test_the_evidence_is_not_changed() -> None:
    before = copy.deepcopy(FULL)
    card("x", "x", "", FULL)
    assert before == FULL


ALL_AT_ONCE = "<img src=x>](y) `a` ``` | {{ 7*7 }} ${{ x }}\n::error::z\n# Heading"


def laden(word: str, role: str) -> dict[str, Any]:
    """The word in every place where a stranger's may stand."""
    found = copy.deepcopy(FULL)
    found["source"] |= {"name": word, "repo": None, "base_model": None, "pipeline_tag": word}
    found["destination"] = {"name": word, "repo": None}
    found["licence"] = {"id": "other", "name": word, "link": word}
    found["language"] = [word]
    found["checks"] = [judged("x", word, status, word) for status in ("warn", "fixed")]
    found["checks"].append(judged("x", word, "warn", word, accepted=word))
    found["smoke"] |= {"asked": {"system": word, "prompt": word}, "system": role}
    found["smoke"]["capabilities"] = found["smoke"]["capabilities"] | dict.fromkeys(
        ("begin_token", "turn_end", "generation_prompt", "system", "parts"), word
    )
    found["smoke"]["exchange"] |= {"messages": [{"role": word, "content": word}], "answer": word}
    found["benchmark"]["machine"] |= {"chip": word, "system": word, "arch": word}
    found["benchmark"]["left_out"] = [{"prompt_tokens": 2048, "why": word}]
    found["fidelity"]["against"] = {"what": "variant", "label": word, "bits_per_weight": 8.5}
    found["ladder"] = [one | {"label": word, "repo": None, "against": word, "chip": word} for one in found["ladder"]]
    found["model"]["files"].append({"path": f"LICENSE-{word}", "size": 1, "sha256": "a" * 64})
    found["tools"] = {"mlx": word, "mlx-lm": word}
    return found


def parse(card: str) -> list[Token]:
    body = card[4:].split("\n---\n", 1)[1]
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(body)


@pytest.mark.parametrize("role", ["native", "first-user", "own-turn"])
@pytest.mark.parametrize("word", HOSTILE)
def test_no_text_of_others_changes_the_structure(word: str, role: str) -> None:
    """Read as Markdown with tables, all stays what it is with a plain word."""
    text, clean = card(word, word, "", laden(word, role)), card("x", "x", "", laden("x", role))
    tokens, wanted = parse(text), parse(clean)
    assert [token.type for token in tokens] == [token.type for token in wanted]
    inner, plain = ([child for token in some for child in token.children or []] for some in (tokens, wanted))
    kinds = [{child.type for child in some} - {"text_special", "softbreak"} for some in (inner, plain)]
    assert kinds[0] == kinds[1]
    assert not [sign for sign in text if unicodedata.category(sign) in {"Cc", "Cf", "Zl", "Zp"} and sign != "\n"]
    assert not re.search(r"^\s*(::|##\[)", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)


@pytest.mark.parametrize("role", ["native", "first-user", "own-turn"])
def test_strangers_words_are_shown_as_text_everywhere(role: str) -> None:
    text = card(ALL_AT_ONCE, ALL_AT_ONCE, "", laden(ALL_AT_ONCE, role))
    tokens, clean = parse(text), parse(card("x", "x", "", laden("x", role)))
    assert [token.type for token in tokens] == [token.type for token in clean]
    inner = [child for token in tokens for child in token.children or []]
    assert "html_inline" not in {child.type for child in inner}
    assert [child.attrs["src"] for child in inner if child.type == "image"] == ["ladder.svg"]
    links = [child.attrs["href"] for child in inner if child.type == "link_open"]
    page = "https://github.com/mlx-publish/mlx-publish/blob/v0.2.0/docs/card.md#which-variant"
    assert links[:4] == ["https://github.com/ml-explore/mlx", page, "#example", "mlx-publish.json"]
    # The rest are files beside the card.
    assert all(str(target).startswith("LICENSE") and ":" not in str(target) for target in links[4:])
    assert "{{ 7*7 }}" in text
    shown = " ".join(ALL_AT_ONCE.split())
    codes = [child.content for child in inner if child.type == "code_inline"]
    assert f"mlx-publish convert --source './{shown}' --bits 4 --group-size 64" in codes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "--bits 4 --group-size 64"),
        ({"bits": 8, "group_size": 32, "dtype": "float16"}, "--bits 8 --group-size 32 --dtype float16"),
        ({"bits": None, "mixed": "mixed_3_6"}, "--mixed mixed_3_6 --group-size 64"),
        ({"mode": "mxfp4", "group_size": 32}, "--mode mxfp4"),
        ({"quantized": False, "bits": None, "mode": None, "dtype": "bfloat16"}, "--dtype bfloat16"),
    ],
)
def test_the_command_makes_the_same_weights_again(changes: dict[str, Any], words: str) -> None:
    text = card("x", "x", "", of_variant(**changes))
    assert f"`mlx-publish convert --source acme/Tiny --revision {COMMIT} {words}`\n" in text
