"""Planned variants are converted as their plans say, hit their targets, and are repeated only where a plan changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.children.jobs import Job
from mlx_publish.conversion import sensitive
from mlx_publish.evidence.records import to_json
from mlx_publish.recipes.plan import WHOLE, read_plan
from models import make_model
from pipeline import User, checks, digests, read_json, write_recipe
from sensitivities import measured_of


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """A model, and the jobs of its measurement, which is made up."""
    source = make_model(tmp_path / "m", hidden=256, layers=4)
    jobs: list[Job] = []

    def run(job: Job, _: object) -> dict[str, Any]:
        jobs.append(job)
        answer: dict[str, Any] = json.loads(json.dumps(to_json(measured_of(source))))
        return answer

    monkeypatch.setattr(sensitive, "run_job", run)
    return jobs


def convert(user: User, tmp_path: Path, *variants: object, code: int = 0) -> str:
    path = write_recipe(tmp_path / "r.yaml", source=str(tmp_path / "m"), variants=list(variants))
    return user.run("convert", "--recipe", path, "--work", tmp_path / "work", code=code).text


def test_targets_are_hit_and_the_plan_lies_beside_the_weights(tmp_path: Path, user: User, measured: list[Job]) -> None:
    said = convert(user, tmp_path, "4.6bpw", "3.9bpw", "4bit")
    assert [job.op for job in measured] == ["sensitivity"]
    assert "plan of 4.6bpw: 4." in said
    for label, target in (("4.6bpw", 4.6), ("3.9bpw", 3.9)):
        variant = tmp_path / "work/r" / label
        result = read_json(variant / "convert.json")["result"]
        assert 0.995 * target <= result["bits_per_weight"] <= target
        found = checks(variant, "convert")
        assert set(found.values()) == {"pass"}
        assert found["target-hit"] == found["plan-source"] == "pass"
        plan = read_plan(variant / "plan.yaml")
        block = read_json(variant / "model/config.json")["quantization"]
        for path, module in plan.modules.items():
            if module.bits != WHOLE:
                entry = block.get(path) or block
                assert (entry["bits"], entry["group_size"]) == (module.bits, module.group_size)
        assert (variant / "model/quantization-plan.yaml").read_bytes() == (variant / "plan.yaml").read_bytes()
        assert result["quantization"]["plan"]["bits_per_weight"] == pytest.approx(result["bits_per_weight"], abs=1e-3)
        assert "quantization-plan.yaml" in [file["path"] for file in result["files"]]
    plain = tmp_path / "work/r/4bit"
    assert "quantization" not in read_json(plain / "convert.json")["result"]
    assert not (plain / "model/quantization-plan.yaml").exists()
    assert checks(plain, "convert")["target-hit"] == "pass"


def test_a_plan_that_did_not_change_is_not_followed_again(tmp_path: Path, user: User, measured: list[Job]) -> None:
    convert(user, tmp_path, "4.6bpw")
    assert "unchanged" in convert(user, tmp_path, "4.6bpw")
    made = digests(tmp_path / "work/r/4.6bpw/model")
    (tmp_path / "p.yaml").write_bytes((tmp_path / "work/r/4.6bpw/plan.yaml").read_bytes())
    measured.clear()
    convert(user, tmp_path, {"plan": "p.yaml"})
    assert measured == []
    assert digests(tmp_path / "work/r/p/model") == made
    lines = (tmp_path / "p.yaml").read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if "mlp.up_proj: {" in line and "bits: 8" not in line)
    lines[at] = lines[at].replace(lines[at].partition("{")[2].partition(", kld")[0], "bits: 8, group_size: 64")
    (tmp_path / "p.yaml").write_text("\n".join(lines) + "\n")
    said = convert(user, tmp_path, {"plan": "p.yaml"})
    assert "running convert again for p: the plan file changed" in said
    plan = read_json(tmp_path / "work/r/p/convert.json")["result"]["quantization"]["plan"]
    assert plan["target"] == "4.6 bits per weight, edited by hand"


def test_a_name_that_lies_about_the_bits_is_refused(tmp_path: Path, user: User, measured: list[Job]) -> None:
    said = convert(user, tmp_path, {"target_bpw": 4.6, "name": "8bit"}, code=1)
    assert measured
    assert checks(tmp_path / "work/r/8bit", "convert")["bits-per-weight"] == "fail"
    assert "bits per weight, but the name 8bit says 8bit" in said


def test_a_target_below_the_floors_is_bad_input_with_its_line(tmp_path: Path, user: User, measured: list[Job]) -> None:
    said = convert(user, tmp_path, {"target_bpw": 2.0}, code=2)
    assert measured == []  # no plan reaches it, whatever is measured
    assert "inspect" in said
    assert "variants[0].target_bpw: 2 bits per weight cannot be reached" in said
    assert "with every module at 2 bits, the fewest there are" in said
    assert "or more; embeddings, heads and routers have floors above that" in " ".join(said.split())


def test_a_target_that_no_rung_needs_names_the_widest_one(tmp_path: Path, user: User, measured: list[Job]) -> None:
    said = convert(user, tmp_path, "16bpw", code=1)
    assert measured
    assert checks(tmp_path / "work/r/16bpw", "convert")["bits-per-weight"] == "fail"
    assert "Use dtype: bfloat16 (bf16), or at most target_bpw: 9.0." in " ".join(said.split())


def test_what_does_not_fit_the_model_is_named_in_the_file_of_the_recipe(
    tmp_path: Path, user: User, measured: list[Job]
) -> None:
    convert(user, tmp_path, "4.6bpw")
    plan = (tmp_path / "work/r/4.6bpw/plan.yaml").read_text()
    head = "  lm_head: {bits: 4, group_size: 64, kld: 0.1, kind: head, weights: 64}\n"
    (tmp_path / "p.yaml").write_text(plan.replace("  model.embed_tokens: {", f"{head}  model.embed_tokens: {{", 1))
    line = 1 + next(n for n, line in enumerate((tmp_path / "p.yaml").read_text().splitlines()) if "lm_head" in line)
    said = convert(user, tmp_path, {"plan": "p.yaml"}, code=2)
    assert f"{tmp_path / 'p.yaml'}:{line}: modules.lm_head: the model has no such module that can be quantized" in said
    assert measured


def test_a_pinned_plan_that_lies_about_its_bytes_is_to_be_made_anew(
    tmp_path: Path, user: User, measured: list[Job]
) -> None:
    convert(user, tmp_path, "4.6bpw")
    plan = (tmp_path / "work/r/4.6bpw/plan.yaml").read_text()
    (others,) = [line for line in plan.splitlines() if line.startswith("others:")]
    (tmp_path / "p.yaml").write_text(plan.replace(others, "others: {weights: 9000000, bytes: 18000000}"))
    said = convert(user, tmp_path, {"plan": "p.yaml"}, code=1)
    assert measured
    assert "Make a new plan with target_bpw, fits or aim" in " ".join(said.split())


def test_a_mac_that_holds_the_whole_model_is_warned_about(tmp_path: Path, user: User, measured: list[Job]) -> None:
    said = convert(user, tmp_path, {"fits": "8GB"})
    assert measured
    assert checks(tmp_path / "work/r/fits-8GB", "convert")["target-hit"] == "warn"
    assert "the source itself is smaller, so every module has the widest rung" in said
