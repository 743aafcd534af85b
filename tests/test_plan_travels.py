"""A measured plan on its way from one machine to another: reviewed beside the card, followed, and never measured again."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from act import GH
from mlx_publish.card.render import render, render_chart
from mlx_publish.children.jobs import Job
from mlx_publish.context import Context
from mlx_publish.conversion import sensitive
from mlx_publish.errors import BadInput
from mlx_publish.evidence.digests import sha256_of
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.evidence.quantization import PLAN_FILE
from mlx_publish.evidence.records import to_json
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.stages import upload_stage
from mlx_publish.text.console import Console
from mlx_publish.text.files import json_text
from mlx_publish.work import Work
from models import answer_table, make_scripted
from pipeline import Ended, User, read_json, write_recipe
from plans import sensitivities_of
from test_forged_evidence import leaves, other
from test_review import git

ACCEPTED = {"check": "mean-kld", "reason": "a model for tests"}
Change = Callable[[dict[str, Any]], object]


@dataclass
class Machine:
    """A checkout of the repo, a work folder, and the engine's answers about sensitivity, which are counted."""

    root: Path
    measured: list[Job] = field(default_factory=list)

    @property
    def user(self) -> User:
        return User(self.root / "repo")

    @property
    def model(self) -> Path:
        return self.root / "work/r/planned/model"

    @property
    def card(self) -> Path:
        return self.root / "repo/cards/local/Scripted-MLX-planned"

    @property
    def out(self) -> Path:
        return self.root / "out/Scripted-MLX-planned"

    @property
    def evidence(self) -> dict[str, Any]:
        return read_json(self.card / "evidence.json")

    def put(self, evidence: dict[str, Any]) -> None:
        """Put evidence, and the card that it gives, where a person merged them."""
        recipe, record = recipe_from_file(self.root / "repo/recipes/r.yaml"), Evidence.of(evidence)
        (self.card / "evidence.json").write_text(json_text(evidence), encoding="utf-8")
        (self.card / "README.md").write_text(render(recipe, recipe.variants[0], record), encoding="utf-8")
        if drawn := render_chart(record):
            (self.card / "ladder.svg").write_text(drawn, encoding="utf-8")

    def upload(self, *words: str, code: int = 0) -> Ended:
        line = ("upload", "--recipe", "recipes/r.yaml", "--work", self.root / "work", "--cards", "cards", *words)
        return self.user.run(*line, code=code)

    def check(self, name: str) -> dict[str, Any]:
        """A finding of the last upload."""
        checks = read_json(self.model.parent / "upload.json")["checks"]
        found: dict[str, Any] = next(check for check in checks if check["id"] == name)
        return found


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only to be copied."""
    root = tmp_path_factory.mktemp("travels")
    source = make_scripted(root / "Scripted", answer_table())
    (root / "repo/.git").mkdir(parents=True)
    (root / "repo/mlx-publish.yaml").write_text("licenses: [apache-2.0]\n")
    write_recipe(
        root / "repo/recipes/r.yaml",
        source="../../Scripted",
        base_model="acme/base",
        variants=[{"target_bpw": 5, "name": "planned"}],
        to="folder:../../out/{source}-MLX-{variant}",
        accept=[ACCEPTED],
    )
    machine = Machine(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sensitive, "run_job", engine(machine, source))
        line = ("run", "--recipe", "recipes/r.yaml", "--work", root / "work", "--into", "cards")
        machine.user.run(*line)
    assert [job.op for job in machine.measured] == ["sensitivity"]
    return root


def engine(machine: Machine, source: Path) -> Callable[[Job, object], Any]:
    def answer(job: Job, _progress: object) -> Any:
        machine.measured.append(job)
        return json.loads(json.dumps(to_json(sensitivities_of(source))))

    return answer


def pull_request(machine: Machine) -> list[str]:
    """The files of the branch that `review` pushes."""
    root = machine.root / "repo"
    shutil.rmtree(root / ".git")
    git(machine.root, "init", "--bare", "--quiet", str(machine.root / "origin.git"))
    git(root, "init", "--quiet")
    git(root, "add", "mlx-publish.yaml")
    git(root, "commit", "--quiet", "--message", "A policy")
    git(root, "remote", "add", "origin", str(machine.root / "origin.git"))
    git(root, "push", "--quiet", "origin", "main")
    program = machine.root / "bin/gh"
    program.parent.mkdir()
    program.write_text(GH)
    program.chmod(0o755)
    more = {name: str(machine.root / name.lower()) for name in ("GH_LOG", "GH_OPEN", "GH_BODY")}
    user = User(root, more=more | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"})
    user.run("review", "--recipe", "recipes/r.yaml", "--cards", "cards")
    git(root, "fetch", "--quiet", "origin")
    return git(root, "ls-tree", "-r", "--name-only", "origin/mlx-publish/r").split()


@pytest.fixture
def machine(reviewed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    shutil.copytree(reviewed, tmp_path, dirs_exist_ok=True)
    own = Machine(tmp_path)
    monkeypatch.setattr(sensitive, "run_job", engine(own, tmp_path / "Scripted"))
    yield own
    assert own.measured == []


def test_the_plan_lies_beside_the_card_as_it_lies_beside_the_weights(machine: Machine) -> None:
    assert (machine.card / PLAN_FILE).read_bytes() == (machine.model / PLAN_FILE).read_bytes()
    evidence = machine.evidence
    assert evidence["variant"]["options"] == {"target_bpw": 5.0}
    assert evidence["quantization"]["plan"]["target"] == "5 bits per weight"
    assert evidence["quantization"]["calibration"]["text"] == "package"


def test_what_was_reviewed_is_published_without_another_conversion(machine: Machine) -> None:
    said = machine.upload().text
    assert "planned: unchanged" in said
    assert (machine.out / PLAN_FILE).read_bytes() == (machine.card / PLAN_FILE).read_bytes()
    assert machine.check("plan-reviewed")["message"].startswith("the weights were made by the plan ")


def test_another_machine_follows_the_reviewed_plan_and_reaches_the_same_bytes(machine: Machine) -> None:
    shutil.rmtree(machine.root / "work")
    said = machine.upload().text
    assert "convert r · planned" in said
    listed = {file["path"]: file["sha256"] for file in machine.evidence["model"]["files"]}
    assert {path: sha256_of(machine.out / path) for path in listed} == listed
    assert "claimed only by the evidence: smoke, fidelity" in machine.check("facts-known")["message"]
    assert machine.check("facts-known")["details"]["claimed"][-1] == "quantization"
    assert "planned: unchanged" in machine.upload().text


def test_a_model_that_was_made_by_another_plan_here_is_made_by_the_reviewed_one(machine: Machine) -> None:
    path = machine.model / PLAN_FILE
    path.write_text(f"{path.read_text()}\n")
    said = machine.upload().text
    assert f"{PLAN_FILE} was changed since it was converted; running convert again" in said
    assert (machine.out / PLAN_FILE).read_bytes() == (machine.card / PLAN_FILE).read_bytes()


def test_converted_once_more_in_an_empty_folder_it_is_the_same(machine: Machine) -> None:
    machine.upload("--rebuild")
    assert machine.check("rebuilt-equal")["status"] == "pass"
    assert "in an empty folder" in machine.check("rebuilt-equal")["message"]


def test_no_command_prints_bits_that_a_plan_does_not_have(machine: Machine) -> None:
    shutil.rmtree(machine.root / "repo/.git")
    git(machine.root / "repo", "init", "--quiet")
    work = ("--work", machine.root / "work")
    said = {
        "list": machine.user.run("list").text,
        "status": machine.user.run("status", *work).text,
        "compare": machine.user.run("compare", "planned", "planned", *work).text,
        "review": machine.user.run("review", "--recipe", "recipes/r.yaml", "--cards", "cards", "--print").text,
        "review as JSON": machine.user.run(
            "review", "--recipe", "recipes/r.yaml", "--cards", "cards", "--json", "--print"
        ).text,
        "card": (machine.card / "README.md").read_text(encoding="utf-8"),
    }
    assert {name: text for name, text in said.items() if "None" in text} == {}
    assert {name: text for name, text in said.items() if "planned" not in text} == {}
    assert "bits per weight 4.98" in said["compare"]
    assert "copy the plan next to the recipe" in said["review"]
    assert "A plan edited here fails the review." in said["review"]


def test_bits_that_a_reviewer_edits_are_refused_before_anything_is_converted(machine: Machine) -> None:
    path = machine.card / PLAN_FILE
    text = path.read_text()
    path.write_text(text.replace("{bits: 8,", "{bits: 6,", 1))
    assert path.read_text() != text
    shutil.rmtree(machine.root / "work")
    said = machine.upload(code=1).text
    assert "plan-reviewed" in said
    assert "name it in the variant (plan: FILE), and run again" in said
    assert not machine.model.exists()
    assert not machine.out.exists()


def test_an_edited_plan_that_is_pinned_makes_other_weights(machine: Machine) -> None:
    text = (machine.card / PLAN_FILE).read_text()
    edited = machine.root / "repo/recipes/plans/edited.yaml"
    edited.parent.mkdir()
    edited.write_text(text.replace("{bits: 8,", "{bits: 6,", 1))
    recipe = machine.root / "repo/recipes/r.yaml"
    data = json.loads(recipe.read_text())
    data["variants"] = [{"plan": "plans/edited.yaml", "name": "planned"}]
    recipe.write_text(json.dumps(data))
    machine.user.run("run", "--recipe", "recipes/r.yaml", "--work", machine.root / "work", "--into", "cards")
    quantization = machine.evidence["quantization"]
    assert quantization["plan"]["sha256"] == sha256_of(edited)
    proposed = pull_request(machine)
    assert "recipes/plans/edited.yaml" in proposed
    assert f"cards/local/Scripted-MLX-planned/{PLAN_FILE}" in proposed
    assert quantization["plan"]["target"] == "5 bits per weight, edited by hand"
    assert "calibration" not in quantization
    machine.upload()


def _plan(evidence: dict[str, Any]) -> dict[str, Any]:
    plan: dict[str, Any] = evidence["quantization"]["plan"]
    return plan


FORGED: dict[str, tuple[Change, str]] = {
    "another plan": (lambda e: _plan(e).update(sha256="0" * 64), "quantization.plan.sha256"),
    "another target": (lambda e: _plan(e).update(target="3 bits per weight"), "quantization.plan.target says"),
    "a made-up prediction": (
        lambda e: _plan(e)["groups"][0].update(predicted_kld=0.0),
        "quantization.plan.groups[0].predicted_kld says 0.0, but convert.json says",
    ),
    "other widths": (lambda e: _plan(e)["groups"][0].update(most="8/32"), "quantization.plan.groups[0].most"),
    "another method": (lambda e: e["quantization"].update(method="dwq on plan"), "quantization.method says"),
    "bytes for one machine": (lambda e: e["quantization"].update(deterministic=False), "quantization.deterministic"),
    "another calibration": (
        lambda e: e["quantization"]["calibration"].update(sha256="0" * 64),
        "quantization.calibration.sha256 says",
    ),
    "more samples": (lambda e: e["quantization"]["calibration"].update(samples=9999), "calibration.samples says 9999"),
    "another recipe": (lambda e: e["variant"]["options"].update(target_bpw=4.0), "variant.options.target_bpw says 4.0"),
    "no quantization": (
        lambda e: e.pop("quantization"),
        "quantization: missing, but the variant's bits were chosen or learned",
    ),
    "a made-up gain": (
        lambda e: e["fidelity"]["gain"].update(rounding_kld=9.0),
        "fidelity.gain.rounding_kld says 9.0, but fidelity.json says",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_evidence_of_a_plan_is_refused_by_field(machine: Machine, name: str) -> None:
    change, words = FORGED[name]
    evidence = machine.evidence
    change(evidence)
    machine.put(evidence)
    said = machine.upload(code=1).text
    checks = read_json(machine.model.parent / "upload.json")["checks"]
    failed = [check["message"] for check in checks if check["status"] == "fail"]
    assert any(words in message for message in failed), (failed, said)
    assert not machine.out.exists()


def test_no_field_about_chosen_bits_can_be_forged(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value is changed for itself; `upload` is asked as the publishing job does, on its own conversion."""
    monkeypatch.chdir(machine.root / "repo")
    good, recipe = machine.evidence, recipe_from_file(machine.root / "repo/recipes/r.yaml")
    cards, work = machine.root / "repo/cards", Work(machine.root / "work", "r")
    paths = [*leaves(good["quantization"], ("quantization",)), *leaves(good["variant"], ("variant",))]
    assert len(paths) > 20
    let_through = []
    for path in paths:
        evidence = copy.deepcopy(good)
        at: Any = evidence
        for part in path[:-1]:
            at = at[part]
        at[path[-1]] = other(at[path[-1]])
        (machine.card / "evidence.json").write_text(json_text(evidence), encoding="utf-8")
        context = Context(recipe, recipe.variants, work, Console(), cards=cards)
        try:
            checks = upload_stage.run(context, recipe.variants)["planned"].checks
        except BadInput:
            continue
        if all(check.status != "fail" for check in checks if check.id not in ("card-rendered", "bytes-unchanged")):
            let_through.append(path)
    assert let_through == []
    assert not machine.out.exists()


def test_what_nobody_here_has_measured_of_a_plan_is_only_claimed(machine: Machine) -> None:
    shutil.rmtree(machine.root / "work")
    evidence = machine.evidence
    evidence["fidelity"]["gain"]["rounding_kld"] = 9.0
    machine.put(evidence)
    machine.upload()
    assert {"fidelity", "quantization"} <= {*machine.check("facts-known")["details"]["claimed"]}
    evidence["quantization"]["calibration"]["sha256"] = "0" * 64
    machine.put(evidence)
    machine.upload(code=1)
    assert "quantization.calibration.sha256 says" in machine.check("facts-known")["message"]
