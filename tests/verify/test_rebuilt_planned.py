"""A planned variant is made again by its published plan, and comes out with the same bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import once
from hub import Hub
from mlx_publish.evidence.digests import sha256_of
from mlx_publish.evidence.quantization import PLAN_FILE
from models import make_model
from pipeline import QUICK, User, read_json
from plans import write_plan_of

KINDS = {"llama": 2, "qwen3_moe": 2, "qwen3_5": 4}
"""Architectures, one of experts and a hybrid among them, with layers."""

PINNED = {"plan": "plan.yaml"}


@dataclass(frozen=True)
class Planned:
    """What was made of a source by a plan that its recipe pins."""

    root: Path

    @property
    def model(self) -> Path:
        return self.root / "work/r/planned/model"

    @property
    def evidence(self) -> dict[str, Any]:
        return read_json(self.model / "mlx-publish.json")

    def verify(self, folder: Path, code: int = 1) -> dict[str, dict[str, Any]]:
        """Findings by id. Nobody tested these weights, so that the verdict is against them."""
        words = ("verify", folder, "--rebuild", "--source", self.root / "source", "--json")
        ended = User(self.root / "anyone").run(*words, code=code)
        return {check["id"]: check for check in json.loads(ended.out)["checks"]}


def made(root: Path, arch: str, variant: Mapping[str, object] = PINNED) -> None:
    source = make_model(root / "source", arch, layers=KINDS[arch])
    write_plan_of(source, root / "plan.yaml")
    recipe = {
        "source": str(source),
        "base_model": "acme/base",
        "variants": [{**variant, "name": "planned"}],
        "calibration": {"samples": 8, "length": 32},
        "to": f"folder:{root / 'out'}",
        **QUICK,
    }
    (root / "r.json").write_text(json.dumps(recipe))
    User(root).run("card", "--recipe", "r.json", "--work", root / "work")


@pytest.fixture(params=list(KINDS))
def planned(request: pytest.FixtureRequest, shared: Path) -> Planned:
    return Planned(once(shared / f"planned-{request.param}", lambda root: made(root, request.param)))


def test_the_plan_lies_beside_the_weights_byte_for_byte_and_evidence_names_it(planned: Planned) -> None:
    assert (planned.model / PLAN_FILE).read_bytes() == (planned.root / "plan.yaml").read_bytes()
    evidence = planned.evidence
    assert evidence["variant"]["options"] == {"plan": "plan.yaml"}
    assert evidence["quantization"]["plan"]["sha256"] == sha256_of(planned.model / PLAN_FILE)
    assert PLAN_FILE in [file["path"] for file in evidence["model"]["files"]]
    assert evidence["quantization"]["deterministic"] is True


def test_made_again_by_its_published_plan_it_has_the_same_bytes(planned: Planned) -> None:
    checks = planned.verify(planned.model)
    assert checks["made-again"]["status"] == "pass"
    assert "byte for byte" in checks["made-again"]["message"]
    assert checks["facts-of-source"]["status"] == "pass"
    assert f"its plan is {PLAN_FILE}" in checks["evidence-whole"]["message"]
    assert {name for name, check in checks.items() if check["status"] == "fail"} == {"all-tested"}


def test_another_plan_beside_the_weights_is_not_followed(planned: Planned, tmp_path: Path) -> None:
    folder = shutil.copytree(planned.model, tmp_path / "copy")
    path = folder / PLAN_FILE
    path.write_text(path.read_text().replace("{bits: 4,", "{bits: 5,", 1))
    checks = planned.verify(folder)
    assert checks["made-again"]["status"] == "fail"
    assert "is not the plan that the evidence names" in checks["made-again"]["message"]


def test_of_a_repo_its_plan_is_followed_too(planned: Planned, tmp_path: Path) -> None:
    with Hub(tmp_path / "hub") as hub:
        hub.put("lab/Planned", {path.name: path for path in sorted(planned.model.iterdir())})
        user = User(tmp_path / "home", hub)
        source = ("--source", planned.root / "source", "--work", tmp_path / "work")
        ended = user.run("verify", "lab/Planned", "--rebuild", "--json", *source, code=1)
    checks = {check["id"]: check for check in json.loads(ended.out)["checks"]}
    assert checks["made-again"]["status"] == "pass"
    digest = planned.evidence["quantization"]["plan"]["sha256"]
    assert sha256_of(tmp_path / "work" / f"plan-{digest[:12]}.yaml") == digest


def test_a_width_that_the_plan_does_not_give_is_found(planned: Planned, tmp_path: Path) -> None:
    """The plan and its digest are as published; what evidence says of it is not."""
    folder = shutil.copytree(planned.model, tmp_path / "copy")
    data = planned.evidence
    data["quantization"]["plan"]["groups"][0]["least"] = "4/64"
    (folder / "mlx-publish.json").write_text(json.dumps(data, indent=2))
    check = planned.verify(folder)["facts-of-source"]
    assert check["status"] == "fail"
    assert 'quantization.plan.groups[0].least says "4/64", but convert.json says "3/64"' in check["message"]


def test_a_config_with_other_bits_than_the_plan_is_found_without_a_rebuild(planned: Planned, tmp_path: Path) -> None:
    folder = shutil.copytree(planned.model, tmp_path / "copy")
    config = read_json(folder / "config.json")
    path, module = next((key, entry) for key, entry in config["quantization"].items() if isinstance(entry, dict))
    module["bits"] = 2
    (folder / "config.json").write_text(json.dumps(config, indent=4))
    ended = User(tmp_path / "anyone").run("verify", folder, "--json", code=1)
    checks = {check["id"]: check for check in json.loads(ended.out)["checks"]}
    assert f"config.json: quantization.{path} says 2 bits in groups of" in checks["evidence-whole"]["message"]


@pytest.mark.parametrize("arch", KINDS)
def test_a_plan_that_was_measured_is_followed_and_nothing_is_measured_again(
    shared: Path, tmp_path: Path, arch: str
) -> None:
    root = once(shared / f"measured-{arch}", lambda folder: made(folder, arch, {"target_bpw": 6}))
    planned = Planned(root)
    evidence = planned.evidence
    assert evidence["quantization"]["calibration"]["samples"] == 8
    assert evidence["model"]["bits_per_weight"] <= 6
    words = ("verify", planned.model, "--rebuild", "--source", root / "source", "--work", tmp_path / "work", "--json")
    ended = User(tmp_path / "anyone").run(*words, code=1)
    checks = {check["id"]: check for check in json.loads(ended.out)["checks"]}
    assert checks["made-again"]["status"] == "pass"
    assert checks["facts-of-source"]["status"] == "pass"
    assert list(root.glob("work/r/source/sensitivities*.json"))
    assert not list((tmp_path / "work").rglob("sensitivities*"))


def test_what_dwq_learned_upon_a_plan_is_learned_again_upon_the_published_one(shared: Path) -> None:
    variant = {"target_bpw": 4, "method": "dwq", "learning": {"learning_rate": 3e-5, "batch_size": 2, "passes": 6}}
    root = once(shared / "cascade", lambda folder: made(folder, "llama", variant))
    planned = Planned(root)
    quantization = planned.evidence["quantization"]
    assert quantization["method"] == "dwq on plan"
    assert quantization["settings"]["loss_after"] < 0.98 * quantization["settings"]["loss_before"]
    assert quantization["plan"]["sha256"] == sha256_of(planned.model / PLAN_FILE)
    assert quantization["deterministic"] is False
    checks = planned.verify(planned.model)
    assert checks["made-again"]["status"] == "pass"
    assert checks["facts-of-source"]["status"] == "pass"


def test_a_plan_of_this_machine_is_never_followed_in_place_of_one_that_is_not_published(
    planned: Planned, tmp_path: Path
) -> None:
    folder, own = shutil.copytree(planned.model, tmp_path / "copy"), tmp_path / "own.yaml"
    (folder / PLAN_FILE).rename(own)
    data = planned.evidence
    data["variant"]["options"] = {"plan": str(own), "name": "../../elsewhere"}
    (folder / "mlx-publish.json").write_text(json.dumps(data, indent=2))
    found = planned.verify(folder)["made-again"]
    assert found["status"] == "fail"
    assert found["message"] == "mlx-publish.json names a plan, but none is published"
