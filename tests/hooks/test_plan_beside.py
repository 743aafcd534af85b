"""mlx-model-config: a plan beside a config.json is the one that the config was written by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hook_trees import write_model
from mlx_publish.evidence.quantization import PLAN_FILE
from mlx_publish.hooks.faults import Options
from mlx_publish.hooks.mlx_model_config import look
from mlx_publish.recipes.plan_text import plan_text
from plans import MODULES, a_plan


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The small files of a model whose modules have 4 bits in groups of 64, as its plan says."""
    folder = write_model(tmp_path / "m")
    (folder / PLAN_FILE).write_text(plan_text(a_plan()))
    return folder


def faults(model: Path, name: str = "config.json") -> list[str]:
    return [str(fault) for fault in look([model / name], Options())]


def change(model: Path, path: str, entry: object) -> None:
    config = json.loads((model / "config.json").read_text())
    for block in ("quantization", "quantization_config"):
        config[block][path] = entry
    (model / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def test_a_plan_that_the_config_follows_is_fine(model: Path) -> None:
    assert faults(model) == []
    assert faults(model, PLAN_FILE) == []


def test_a_module_with_other_bits_than_the_plan_is_named_at_its_line(model: Path) -> None:
    change(model, MODULES[1], {"group_size": 64, "bits": 3, "mode": "affine"})
    [fault] = faults(model)
    line = next(n for n, text in enumerate((model / "config.json").read_text().splitlines(), 1) if MODULES[1] in text)
    assert fault.startswith(f"{model / 'config.json'}:{line}: quantization.{MODULES[1]}: says 3 bits in groups of 64")
    assert fault.endswith("but the plan gives 4 bits in groups of 64")


def test_a_module_that_the_config_leaves_unquantized_is_named(model: Path) -> None:
    change(model, MODULES[0], False)
    assert "says no quantization, but the plan gives 4 bits" in faults(model)[0]


def test_a_plan_that_is_none_is_named(model: Path) -> None:
    (model / PLAN_FILE).write_text("schema: other\n")
    assert "is not a quantization plan of this version" in faults(model, PLAN_FILE)[0]


def test_a_plan_in_git_lfs_is_not_read(model: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 1000\n"
    (model / PLAN_FILE).write_text(pointer)
    assert faults(model) == []
