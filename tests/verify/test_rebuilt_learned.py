"""`verify --rebuild` of what a method learns: other bytes on another machine, compared by fidelity."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import once
from mlx_publish.card.render import render_card
from mlx_publish.checks.base import run_checks
from mlx_publish.checks.published import PUBLISHED, Facts
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.evidence.weight_differences import Closeness, WeightDifferences
from mlx_publish.methods.rtn import Rounding
from models import make_model
from other_device import Tensors
from pipeline import User, write_recipe
from rebuilding import Published, gpu, publish
from samples_of_plans import make_learned

AGAIN = "made-again"


@pytest.fixture
def published(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """Rounding stands for a method whose bytes differ from machine to machine: what is judged is the comparison."""
    kept = once(shared / "rebuilt", publish)
    monkeypatch.setattr(Rounding, "portable", False)
    return Published(shutil.copytree(kept / "out", tmp_path / "out"), kept / "Own", User(tmp_path / "home"))


def test_the_same_bytes_are_the_same(published: Published) -> None:
    check = published.rebuild(code=0)
    assert check["status"] == "pass"
    assert "byte for byte" in check["message"]


def test_other_bytes_that_are_as_close_to_the_source_are_verified_by_fidelity(published: Published) -> None:
    published.change(gpu(published))
    evidence = Evidence.of(published.evidence)
    (published.folder / "README.md").write_text(render_card("out", "out", "", evidence), encoding="utf-8")
    found = published.rebuild(code=0)
    stated = published.evidence["fidelity"]
    assert found["status"] == "pass"
    assert found["message"].startswith("other bytes, as close to the source: mean KLD ")
    assert "gives other bytes on another machine" in found["message"]
    weights = found["details"]["weights"]
    assert weights["stated"] == stated["mean_kld"]
    assert weights["published"] <= stated["mean_kld"] + 2 * stated["mean_kld_error"]
    assert weights["rebuilt"] == pytest.approx(stated["mean_kld"], rel=0.5)


def worse(tensors: Tensors) -> Tensors:
    """Every code of the head is another one."""
    dtype, shape, data = tensors["lm_head.weight"]
    return {**tensors, "lm_head.weight": (dtype, shape, bytes(byte ^ 0x77 for byte in data))}


def gone(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name != "model.norm.weight"}


WRONG: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "farther from the source": (worse, "farther from the source than its evidence says: mean KLD"),
    "without a tensor": (gone, "model.norm.weight: missing"),
}


@pytest.mark.parametrize("name", WRONG)
def test_other_weights_are_refused(published: Published, name: str) -> None:
    change, words = WRONG[name]
    published.change(change)
    found = published.rebuild()
    assert found["status"] == "fail"
    assert words in found["message"]
    assert "Do not use it" in found["remedy"]


def test_an_error_that_the_evidence_overstates_hides_nothing(published: Published) -> None:
    published.change(worse)
    data = published.evidence
    data["fidelity"]["mean_kld_error"] = 100.0
    published.put_evidence(data)
    found = published.rebuild()
    assert found["status"] == "fail"
    assert "farther from the source than its evidence says" in found["message"]


def test_another_small_file_is_no_matter_of_learning(published: Published) -> None:
    published.change(gpu(published))
    path = published.folder / "generation_config.json"
    path.write_text(path.read_text() + "\n")
    found = published.rebuild()
    assert found["status"] == "fail"
    assert "generation_config.json" in found["details"]["other"]


def test_without_a_distance_from_the_source_nothing_can_be_said(published: Published) -> None:
    published.change(gpu(published))
    data = published.evidence
    data["fidelity"]["against"] = {"what": "variant", "label": "8bit", "bits_per_weight": 8.5}
    published.put_evidence(data)
    found = published.rebuild()
    assert found["status"] == "fail"
    assert "cannot be compared by fidelity: the evidence has no distance from the source" in found["message"]


def facts(**changes: Any) -> Facts:
    evidence = Evidence.of(make_learned())
    digests = {file.path: file.sha256 for file in evidence.model.files} | {"model.safetensors": "1" * 64}
    base = Facts(evidence, digests, {}, (), {}, {}, "", made=digests | {"model.safetensors": "2" * 64})
    return replace(base, weights=WeightDifferences(1, 0), **changes)


@pytest.mark.parametrize(("mean", "status"), [(0.0223, "pass"), (0.0256, "pass"), (0.0258, "fail")])
def test_the_noise_of_the_evidence_is_two_standard_errors(mean: float, status: str) -> None:
    found = {f.id: f for f in run_checks(PUBLISHED, facts(closeness=Closeness(mean, 0.0225, 0.0223, 0.0017)))}
    assert found[AGAIN].status == status
    assert "made again it has 0.0225" in found[AGAIN].message
    assert ("awq gives other bytes on another machine" in found[AGAIN].message) == (status == "pass")
    assert json.dumps(found[AGAIN].details)


WAYS: dict[str, dict[str, Any]] = {
    "awq": {"method": "awq", "bits": 4, "learning": {"grid": 3}},
    "gptq": {"method": "gptq", "bits": 4},
    "dwq": {"method": "dwq", "bits": 4, "learning": {"learning_rate": 1e-5}},
}


def learned(root: Path, name: str, **keys: Any) -> None:
    """Convert, compare and describe a random model; `work/r/it/model` is what would be published."""
    make_model(root / "Own", hidden=128)
    (root / "home").mkdir()
    accept = [{"check": check, "reason": "a model for tests"} for check in ("mean-kld", "perplexity")]
    recipe = {"source": "../Own", "base_model": "acme/base", "to": "folder:../out", "accept": accept}
    write_recipe(root / "home/r.json", **recipe, variants=[{**WAYS[name], "name": "it"}], **keys)
    for command in ("fidelity", "card"):
        User(root / "home").run(command, "--recipe", "r.json", "--work", root / "work")


# One method in every run: the way is the same for all.
BY_NIGHT = [pytest.param(name, marks=() if name == "gptq" else pytest.mark.nightly) for name in WAYS]


@pytest.mark.parametrize("name", BY_NIGHT)
def test_what_a_method_of_mlx_lm_learned_is_learned_again(shared: Path, tmp_path: Path, name: str) -> None:
    root = once(shared / f"learned-{name}", lambda folder: learned(folder, name))
    folder = shutil.copytree(root / "work/r/it/model", tmp_path / "out")
    own = Published(folder, root / "Own", User(tmp_path / "home"))
    assert own.evidence["quantization"]["deterministic"] is False
    assert own.evidence["variant"]["options"]["method"] == name
    words = ("verify", folder, "--rebuild", "--source", own.source, "--json")
    checks = {check["id"]: check for check in json.loads(own.user.run(*words, code=1).out)["checks"]}
    assert checks["made-again"]["status"] == "pass"
    assert "byte for byte" in checks["made-again"]["message"]
    assert checks["facts-of-source"]["status"] == "pass"
    own.change(nudged)
    found = own.rebuild()
    assert found["status"] == "pass"
    assert f"{name} gives other bytes on another machine" in found["message"]


def nudged(tensors: Tensors) -> Tensors:
    """One code of a module is another one, as elsewhere."""
    name = "model.layers.0.mlp.up_proj.weight"
    dtype, shape, data = tensors[name]
    return {**tensors, name: (dtype, shape, bytes([data[0] ^ 1]) + data[1:])}


def test_what_learned_from_a_file_needs_that_file(shared: Path, tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "home").mkdir(parents=True)
        (folder / "home/notes.txt").write_text(
            "".join(f"Note {n}: the tide comes at {n % 12}.\n\n" for n in range(400))
        )
        (folder / "home").rename(folder / "kept")
        learned(folder, "gptq", calibration={"file": "../kept/notes.txt", "samples": 8, "length": 32})

    root = once(shared / "learned-notes", make)
    own = Published(shutil.copytree(root / "work/r/it/model", tmp_path / "out"), root / "Own", User(tmp_path / "home"))
    words = ("verify", own.folder, "--rebuild", "--source", own.source)
    said = own.user.run(*words, code=2).text
    assert "names notes.txt as the calibration text, which is not published" in said
    assert "Pass that file: --calibration FILE" in said
    ended = own.user.run(*words, "--calibration", root / "kept/notes.txt", "--json", code=1)
    checks = {check["id"]: check for check in json.loads(ended.out)["checks"]}
    assert checks["made-again"]["status"] == "pass"
    (tmp_path / "notes.txt").write_text("".join(f"Note {n}: nothing happened at all today.\n\n" for n in range(400)))
    ended = own.user.run(*words, "--calibration", tmp_path / "notes.txt", "--json", code=1)
    checks = {check["id"]: check for check in json.loads(ended.out)["checks"]}
    assert "quantization.calibration.sha256" in checks["facts-of-source"]["message"]
