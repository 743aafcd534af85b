"""The demo's recipe on the real model: numbers that are known, an answer in English, a card for each variant."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import mlx_lm  # noqa: TID251 -- what the published folders are for
import pytest
from ruamel.yaml import YAML

from conftest import once
from pipeline import ROOT, User, read_json

pytestmark = pytest.mark.slow

BITS = {"4bit": 4.5, "8bit": 8.5}
NAME = "SmolLM2-135M-Instruct"


@pytest.fixture(scope="session")
def demo(source: Path, shared: Path) -> Path:
    """The folder `published` of a checkout in which the demo has run."""

    def publish(root: Path) -> None:
        (root / "recipes").mkdir(parents=True)
        recipe = (ROOT / "recipes/smollm2.yaml").read_text(encoding="utf-8")
        shorter = recipe.replace("seconds: 30", "seconds: 5").replace("[32, 128]", "32")  # nobody looks at the speed
        assert shorter.count("seconds: 5\n") == shorter.count("prompt_tokens: 32\n") == 1
        (root / "recipes/smollm2.yaml").write_text(shorter, encoding="utf-8")
        shutil.copytree(source, root / "sources" / NAME)
        User(root / "home").run("publish", "--recipe", root / "recipes/smollm2.yaml", "--work", root / "work")

    return once(shared / "demo", publish) / "published"


def evidence(demo: Path, label: str) -> dict[str, Any]:
    return read_json(demo / f"{NAME}-MLX-{label}" / "mlx-publish.json")


def test_the_bits_per_weight_are_those_of_the_name(demo: Path) -> None:
    assert {label: round(evidence(demo, label)["model"]["bits_per_weight"], 2) for label in BITS} == BITS
    assert {evidence(demo, label)["model"]["parameters"] for label in BITS} == {134_515_008}


def test_more_bits_lose_less(demo: Path) -> None:
    four, eight = (evidence(demo, label)["fidelity"] for label in BITS)
    assert 0 < eight["mean_kld"] < four["mean_kld"] < 1
    assert 0.25 < four["same_first_choice"] < eight["same_first_choice"] <= 1


@pytest.mark.parametrize("label", BITS)
def test_the_card_says_what_was_found(demo: Path, label: str) -> None:
    folder = demo / f"{NAME}-MLX-{label}"
    _, matter, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert YAML(typ="safe").load(matter) == {
        "license": "apache-2.0",
        "language": ["en"],
        "library_name": "mlx",
        "pipeline_tag": "text-generation",
        "base_model": f"HuggingFaceTB/{NAME}",
        "base_model_relation": "quantized",
        "tags": ["mlx", "conversational", f"{label[0]}-bit"],
    }
    assert re.search(rf"^\|.*\b{label}\b.*\| {BITS[label]:.2f} \|", body, re.MULTILINE)
    assert "affine, group size 64" in body
    answer = evidence(demo, label)["smoke"]["exchange"]["answer"]
    assert "eclipse" in answer.lower()
    assert " ".join(answer.split()) in " ".join(body.split())
    assert f'model, tokenizer = load("{folder.name}")' in body
    assert "You are a friendly astronomer who explains things simply." in body
    assert "Apache License" in (folder / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("label", BITS)
def test_both_variants_are_in_the_chart(demo: Path, label: str) -> None:
    folder = demo / f"{NAME}-MLX-{label}"
    assert "](ladder.svg)" in (folder / "README.md").read_text(encoding="utf-8")
    chart = (folder / "ladder.svg").read_text(encoding="utf-8")
    assert all(other in chart for other in BITS)
    assert [one["label"] for one in evidence(demo, label)["ladder"]] == list(BITS)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="MLX computes on the GPU there")
@pytest.mark.parametrize("label", BITS)
def test_the_speed_is_that_of_a_cpu_printed_or_not(demo: Path, label: str) -> None:
    card = (demo / f"{NAME}-MLX-{label}" / "README.md").read_text(encoding="utf-8")
    said = card.partition("**Speed**")[2].partition("\n## ")[0]
    assert "Linux" in said
    assert "CPU" in said
    found = evidence(demo, label)
    assert said.startswith(" was measured,") == (found["benchmark"] is None)
    if found["benchmark"]:
        assert found["benchmark"]["lengths"][0]["prompt_tokens"] == 32


@pytest.mark.parametrize("label", BITS)
def test_the_published_model_loads(demo: Path, label: str) -> None:
    _, tokenizer = mlx_lm.load(str(demo / f"{NAME}-MLX-{label}"), lazy=True)[:2]
    assert tokenizer.eos_token_ids == {2}
