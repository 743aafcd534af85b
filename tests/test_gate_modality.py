"""A source that takes images, too, is published as text only where that is asked for, and then claims text alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gate import edit_json, edit_tensors, gate, logits, untouched
from models import MISSING, make_model
from pipeline import QUICK, User, read_json, write_recipe

PROCESSOR = ("preprocessor_config.json", "processor_config.json")
VISION: dict[str, Any] = {
    "vision_config": {"model_type": "pixtral", "hidden_size": 8},
    "image_token_index": 7,
    "spatial_merge_size": 2,
    "vision_feature_layer": -1,
    "projector_hidden_act": "gelu",
    "architectures": ["Mistral3ForConditionalGeneration"],
}


def nested(folder: Path, *, towers: bool = True, **more: Any) -> Path:
    """A tiny Mistral 3: a llama under `text_config`, with a tower for images or without."""
    make_model(folder, tie=False)
    config = read_json(folder / "config.json")
    text = {key: value for key, value in config.items() if key != "architectures"}
    kept = {"eos_token_id": config["eos_token_id"], "torch_dtype": config["torch_dtype"]}
    gone = dict.fromkeys(config, MISSING)
    edit_json(folder, "config.json", **{**gone, **kept, "text_config": text, "model_type": "mistral3", **more})

    def rename(tensors: dict[str, NDArray[Any]]) -> None:
        for name in list(tensors):
            tensors[f"language_model.{name}"] = tensors.pop(name)
        if towers:
            tensors["vision_tower.patch_conv.weight"] = np.ones((8, 8), np.uint16)
            tensors["multi_modal_projector.linear_1.weight"] = np.ones((8, 8), np.uint16)

    edit_tensors(folder, rename)
    if towers:
        for name in PROCESSOR:
            (folder / name).write_text('{"processor_class": "PixtralProcessor"}')
    return folder


def test_it_is_refused_at_inspect_where_nobody_asked_for_text(tmp_path: Path) -> None:
    made = gate(nested(tmp_path / "Seer-it", **VISION), code=1, command="inspect")
    assert made.failed() == ["modality"]
    assert "images" in made.message("modality")
    assert "modality: text" in made.text


def test_tensors_tell_it_where_config_does_not(tmp_path: Path) -> None:
    made = gate(nested(tmp_path / "Seer"), code=1, command="inspect")
    assert made.failed() == ["modality-weights"]


def test_a_language_model_saved_in_the_class_of_the_whole_needs_no_key(tmp_path: Path) -> None:
    source = nested(tmp_path / "Plain", towers=False)
    made = gate(source, "--bits", 8, "--group-size", 32)
    assert made.failed() == []


def test_what_is_published_claims_text_alone(tmp_path: Path) -> None:
    source = nested(tmp_path / "Seer", **VISION)
    user = User(tmp_path / "home")
    recipe = write_recipe(
        tmp_path / "seer.yaml",
        source=str(source),
        modality="text",
        base_model="lab/Seer",
        variants=[{"bits": 8, "group_size": 32}],
        to=f"folder:{tmp_path}/out/Seer-text-8bit",
        accept=[{"check": one, "reason": "its weights are random"} for one in ("answers", "same-first-choice")],
        **QUICK,
    )
    with untouched(source):
        user.run("publish", "--recipe", recipe, "--work", tmp_path / "work")
    out = tmp_path / "out" / "Seer-text-8bit"
    config = read_json(out / "config.json")
    assert set(config) == {
        "eos_token_id",
        "model_type",
        "quantization",
        "quantization_config",
        "text_config",
        "torch_dtype",
    }
    assert config["model_type"] == "mistral3"
    assert not [name for name in PROCESSOR if (out / name).exists()]
    assert np.isfinite(logits(out)).all()
    card = out.joinpath("README.md").read_text(encoding="utf-8")
    head = card.split("---")[1]
    assert "pipeline_tag: text-generation" in head
    assert "image" not in head
    assert "multimodal" not in head
    assert "does not support images" in card
    assert "full model, [lab/Seer]" in card
    evidence = json.loads(out.joinpath("mlx-publish.json").read_text(encoding="utf-8"))
    assert evidence["source"]["modality"] == "text"


@pytest.mark.parametrize(("to", "code"), [("folder:{0}/Seer-4bit", 1), ("folder:{0}/elsewhere", 0)])
def test_a_name_that_reads_as_the_whole_model_is_refused(tmp_path: Path, to: str, code: int) -> None:
    source = nested(tmp_path / "Seer", **VISION)
    place = to.format(tmp_path / "out")
    made = gate(source, "--modality", "text", "--to", place, code=code, command="inspect")
    assert made.failed() == (["modality-name"] if code else [])
    if code:
        assert "Seer-text-4bit" in made.message("modality-name") + made.text


def test_the_name_may_stay_where_the_recipe_insists_with_a_reason(tmp_path: Path) -> None:
    source = nested(tmp_path / "Seer", **VISION)
    recipe = write_recipe(
        tmp_path / "seer.yaml",
        source=str(source),
        modality="text",
        to=f"folder:{tmp_path}/out/Seer-4bit",
        accept=[{"check": "modality-name", "reason": "our clients look for this name"}],
    )
    User(tmp_path / "home").run("inspect", "--recipe", recipe, "--work", tmp_path / "work")


def test_without_a_destination_the_name_says_text(tmp_path: Path) -> None:
    source = nested(tmp_path / "Seer", **VISION)
    made = gate(source, "--modality", "text", command="inspect")
    assert "Seer-text-MLX-4bit" in made.message("modality-name")
