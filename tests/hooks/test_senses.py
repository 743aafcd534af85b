"""mlx-model-config: a config that claims eyes or ears of which no tensor is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlx_publish.errors import Fault
from mlx_publish.hooks.model_folder import ModelFolder
from mlx_publish.hooks.senses import senses
from tensor_file import write_tensors

LANGUAGE = ["language_model.model.embed_tokens.weight", "language_model.lm_head.weight"]
EYES, EARS = "vision_tower.patch_conv.weight", "audio_tower.conv.weight"
SEES: dict[str, Any] = {"model_type": "gemma3n", "vision_config": {"depth": 2}}
HEARS: dict[str, Any] = {"audio_config": {"depth": 2}}


def folder(place: Path, config: dict[str, Any], tensors: list[str], *, index: bool) -> Path:
    place.mkdir()
    (place / "config.json").write_text(json.dumps(config, indent=2))
    if index:
        files = dict.fromkeys(tensors, "model-00001-of-00002.safetensors")
        (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    else:
        write_tensors(place / "model.safetensors", {name: np.zeros(2, np.float32) for name in tensors})
    return place


def faults(place: Path) -> list[Fault]:
    return list(senses(ModelFolder(place)))


@pytest.mark.parametrize("index", [True, False], ids=["index", "weights"])
@pytest.mark.parametrize(
    ("config", "tensors", "keys"),
    [
        (SEES, LANGUAGE, ["vision_config"]),
        (SEES | HEARS, LANGUAGE, ["vision_config", "audio_config"]),
        (SEES | HEARS, [*LANGUAGE, EYES], ["audio_config"]),
        (SEES | HEARS, [*LANGUAGE, EYES, EARS], []),
        (SEES, [*LANGUAGE, EYES], []),
        (SEES, [*LANGUAGE, "resampler.query"], []),
        (SEES, [*LANGUAGE, "model.connector.modality_projection.proj.weight"], []),  # of which sense, no name says
        ({"model_type": "llama"}, LANGUAGE, []),
        (SEES | {"vision_config": None}, LANGUAGE, []),
    ],
)
def test_each_part_that_config_describes_has_tensors(
    tmp_path: Path, config: dict[str, Any], tensors: list[str], keys: list[str], index: bool
) -> None:
    found = faults(folder(tmp_path / "model", config, tensors, index=index))
    assert [fault.key for fault in found] == keys
    assert all(f"none of the {len(tensors)} tensors" in fault.message for fault in found)
    assert all("modality: text" in fault.remedy for fault in found)


def test_the_fault_is_at_the_line_of_its_key(tmp_path: Path) -> None:
    [fault] = faults(folder(tmp_path / "model", SEES, LANGUAGE, index=True))
    assert str(fault.place).endswith("config.json:3")


def test_where_git_holds_no_weights_nothing_is_known(tmp_path: Path) -> None:
    place = folder(tmp_path / "model", SEES, LANGUAGE, index=False)
    (place / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    assert faults(place) == []
    (place / "model.safetensors").unlink()
    assert faults(place) == []
