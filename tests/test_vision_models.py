"""The tiny models that see, and what mlx-vlm makes of them: which families it computes as transformers does."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

import vision_models
from conftest import once
from vision_families import FAMILIES
from vision_models import Compared

ENOUGH = 1e-3
EQUAL = (
    "gemma4",
    "glm_ocr",
    "idefics3",
    "internvl",
    "lfm2_vl",
    "llava",
    "llava_onevision",
    "mistral3",
    "qwen2_5_vl",
    "qwen2_vl",
    "qwen3_5",
    "qwen3_vl",
    "smolvlm",
)
SAVED = ("idefics3", "lfm2_vl", "qwen3_vl")
OTHER = {"gemma3": 0.3, "llama4": 3e-3, "llava_next": float("inf"), "paligemma": 0.1}
"""Families that mlx-vlm computes otherwise, and how far apart its logits are at least with a picture."""
SMALL = 4 * 2**20


@pytest.fixture(scope="session")
def models(shared: Path, torch_python: Path) -> Path:
    """Every family; only to be read."""
    names = [*FAMILIES, *(f"{name}.saved" for name in SAVED)]
    return once(shared / "vision_models", lambda folder: vision_models.make(torch_python, folder, *names))


@pytest.fixture(scope="session")
def compared(shared: Path, models: Path, torch_python: Path, vision_python: Path) -> Compared:
    def compute(folder: Path) -> None:
        folder.mkdir()
        names = [*FAMILIES, *(f"{name}.saved" for name in SAVED)]
        failed = vision_models.compare(torch_python, vision_python, models, names).failed
        (folder / "failed.json").write_text(json.dumps(dict(failed)))

    done = once(shared / "vision_compared", compute)
    return Compared(models, json.loads((done / "failed.json").read_text()))


def header(folder: Path) -> dict[str, Any]:
    with (folder / "model.safetensors").open("rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        found: dict[str, Any] = json.loads(file.read(length))
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_a_tiny_model_has_what_its_family_publishes(models: Path, name: str) -> None:
    folder = models / name
    assert json.loads((folder / "config.json").read_text())["architectures"] == FAMILIES[name]().config["architectures"]
    assert {one["dtype"] for key, one in header(folder).items() if key != "__metadata__"} == {"BF16"}
    assert (folder / "model.safetensors").stat().st_size < SMALL
    assert (folder / "preprocessor_config.json").exists() != (name == "gemma4")


@pytest.mark.parametrize("name", FAMILIES)
def test_its_tokenizer_gives_every_ascii_text_back_and_knows_the_picture(models: Path, name: str) -> None:
    tokenizer = Tokenizer.from_file(str(models / name / "tokenizer.json"))
    text = "".join(map(chr, range(0x20, 0x7F))) + "\nWhat is left of the blue square?"
    assert tokenizer.decode(tokenizer.encode(text).ids) == text
    slot = FAMILIES[name]().slot
    assert tokenizer.encode(f"{slot}a{slot}").ids.count(FAMILIES[name]().special.index(slot)) == len("aa")


@pytest.mark.parametrize("name", FAMILIES)
def test_its_turn_ends_with_an_id_of_its_generation_config(models: Path, name: str) -> None:
    tokenizer = Tokenizer.from_file(str(models / name / "tokenizer.json"))
    ends = json.loads((models / name / "generation_config.json").read_text())["eos_token_id"]
    family = FAMILIES[name]()
    assert [tokenizer.token_to_id(token) for token in family.eos] == (ends if isinstance(ends, list) else [ends])


@pytest.mark.parametrize("name", SAVED)
def test_what_transformers_saves_keeps_its_processors_in_one_file(models: Path, name: str) -> None:
    saved, spelled = models / f"{name}.saved", models / name
    whole = json.loads((saved / "processor_config.json").read_text())
    assert whole["image_processor"] == json.loads((spelled / "preprocessor_config.json").read_text())
    assert not (saved / "preprocessor_config.json").exists()
    assert "rope_parameters" in json.loads((saved / "config.json").read_text())["text_config"]


@pytest.mark.slow
@pytest.mark.parametrize("name", EQUAL)
def test_mlx_vlm_computes_a_picture_as_transformers_does(compared: Compared, name: str) -> None:
    apart = compared.apart(name)
    assert max(apart.values()) < ENOUGH, apart


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHER)
def test_mlx_vlm_computes_a_picture_otherwise(compared: Compared, name: str) -> None:
    apart = compared.apart(name)
    assert apart["one"] >= OTHER[name], apart
    assert apart["two"] >= OTHER[name], apart


@pytest.mark.slow
def test_gemma_3_differs_in_mlx_vlm_from_its_first_picture_token_on(compared: Compared) -> None:
    by_position = compared.by_position("gemma3", "one")
    first = int(np.argmax(by_position > ENOUGH))
    with np.load(compared.folder / "gemma3.inputs.npz") as given:
        ids = list(given["one.input_ids"][0])
    assert first == ids.index(FAMILIES["gemma3"]().config["image_token_index"])
    assert compared.apart("gemma3")["text"] < ENOUGH


@pytest.mark.slow
def test_the_spelling_of_transformers_5_is_taken_refused_or_read_wrongly_by_mlx_vlm(compared: Compared) -> None:
    assert max(compared.apart("lfm2_vl.saved").values()) < ENOUGH
    assert "rope_theta" in compared.failed["qwen3_vl.saved"]
    assert min(compared.apart("idefics3.saved").values()) > ENOUGH  # in silence: another rope_theta


@pytest.mark.slow
def test_every_picture_shows_in_the_logits_of_transformers(compared: Compared) -> None:
    assert set(compared.failed) == {"qwen3_vl.saved"}
    for name in FAMILIES:
        with np.load(compared.folder / f"{name}.torch.npz") as logits:
            text, one = logits["text"], logits["one"]
        assert np.abs(one[-1] - text[-1]).max() > ENOUGH * np.ptp(text), name
