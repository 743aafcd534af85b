"""What a method learned is published from the machine that learned it, and learned once more there before it leaves."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from conftest import once
from mlx_publish.card.render import render
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.stages import rebuilding
from mlx_publish.text.files import json_text
from models import answer_table, make_scripted
from pipeline import Ended, User, read_json, write_recipe


def reviewed(root: Path) -> None:
    make_scripted(root / "Scripted", answer_table())
    (root / "repo/.git").mkdir(parents=True)
    (root / "repo/mlx-publish.yaml").write_text("licenses: [apache-2.0]\n")
    write_recipe(
        root / "repo/recipes/r.yaml",
        source="../../Scripted",
        base_model="acme/base",
        variants=[{"method": "gptq", "bits": 4, "name": "it"}],
        to="folder:../../out/{variant}",
        accept=[{"check": "mean-kld", "reason": "a model for tests"}],
        calibration={"samples": 16, "length": 64},
    )
    line = ("run", "--recipe", "recipes/r.yaml", "--work", root / "work", "--into", "cards")
    User(root / "repo").run(*line)


@pytest.fixture
def root(shared: Path, tmp_path: Path) -> Path:
    kept = once(shared / "learned-travels", reviewed)
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    return tmp_path


def upload(root: Path, *words: str, code: int = 0) -> Ended:
    line = ("upload", "--recipe", "recipes/r.yaml", "--work", root / "work", "--cards", "cards", *words)
    return User(root / "repo").run(*line, code=code)


def check(root: Path, name: str) -> dict[str, Any]:
    checks = read_json(root / "work/r/it/upload.json")["checks"]
    found: dict[str, Any] = next(check for check in checks if check["id"] == name)
    return found


def test_it_is_learned_once_more_with_the_same_bytes_on_the_same_machine(root: Path) -> None:
    upload(root, "--rebuild")
    assert check(root, "rebuilt-equal")["status"] == "pass"
    assert (root / "out/it/model.safetensors").is_file()
    assert not (root / "out/it/quantization-plan.yaml").exists()


def test_other_bytes_are_refused_with_the_reason(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rebuilding.made

    def elsewhere(*of: Any) -> dict[str, dict[str, str]]:
        return {label: {**files, "model.safetensors": "0" * 64} for label, files in made(*of).items()}

    monkeypatch.setattr(rebuilding, "made", elsewhere)
    said = upload(root, "--rebuild", code=1).text
    assert "gptq gives other bytes on another machine, and the evidence names" in said
    assert "Publish from the machine that converted it, with the same work folder." in said
    assert not (root / "out/it").exists()


def test_a_calibration_that_the_recipe_does_not_have_is_refused(root: Path) -> None:
    card, recipe = root / "repo/cards/local/it", recipe_from_file(root / "repo/recipes/r.yaml")
    evidence = read_json(card / "evidence.json")
    evidence["quantization"]["calibration"]["sha256"] = "0" * 64
    (card / "evidence.json").write_text(json_text(evidence), encoding="utf-8")
    rendered = render(recipe, recipe.variants[0], Evidence.of(evidence))
    (card / "README.md").write_text(rendered, encoding="utf-8")
    upload(root, code=1)
    assert "quantization.calibration.sha256 says" in check(root, "facts-known")["message"]
    assert not (root / "out/it").exists()
