"""Forged evidence: each field that the publishing job knows is compared, one by one, and nothing leaves."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlx_publish.card.render import render, render_chart
from mlx_publish.checks.signed import Vouched
from mlx_publish.context import Context
from mlx_publish.errors import BadInput
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.reviewed.cards import card_folder
from mlx_publish.stages import upload_stage
from mlx_publish.stages.upload_stage import run
from mlx_publish.text.console import Console
from mlx_publish.text.files import json_text
from mlx_publish.work import Work
from models import answer_table, make_scripted
from pipeline import User, write_recipe

POLICY = "licenses: [apache-2.0]\n"
ACCEPTED = {"check": "not-taken", "reason": "it is ours"}
Change = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class Tree:
    """A repo with a policy, a recipe and reviewed cards, and the work folder that they were made in."""

    root: Path

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def variant(self) -> Path:
        return self.work / "r" / "4bit"

    @property
    def recipe(self) -> Recipe:
        return recipe_from_file(self.root / "repo/recipes/r.yaml")

    @property
    def card(self) -> Path:
        return card_folder(self.recipe, self.recipe.variants[0], self.root / "repo/cards")

    @property
    def evidence(self) -> dict[str, Any]:
        evidence: dict[str, Any] = json.loads((self.card / "evidence.json").read_text(encoding="utf-8"))
        return evidence

    def put(self, evidence: dict[str, Any]) -> None:
        """Put evidence, and the card that it gives, where a person merged them."""
        recipe = self.recipe
        (self.card / "evidence.json").write_text(json_text(evidence), encoding="utf-8")
        (self.card / "README.md").write_text(
            render(recipe, recipe.variants[0], Evidence.of(evidence)), encoding="utf-8"
        )
        if drawn := render_chart(Evidence.of(evidence)):
            (self.card / "ladder.svg").write_text(drawn, encoding="utf-8")

    def upload(self) -> dict[str, Any]:
        """Run the stage as the publishing job does, on its own inspect and convert; returns its checks by id."""
        recipe = self.recipe
        context = Context(recipe, recipe.variants[:1], Work(self.work, "r"), Console(), cards=self.root / "repo/cards")
        return {check.id: check for check in run(context, recipe.variants[:1])["4bit"].checks}


def make(root: Path) -> Tree:
    tree = Tree(root)
    make_scripted(root / "Scripted", answer_table())
    repo = root / "repo"
    (repo / ".git").mkdir(parents=True)
    (repo / "mlx-publish.yaml").write_text(POLICY)
    write_recipe(
        repo / "recipes/r.yaml",
        source="../../Scripted",
        base_model="acme/base",
        variants=["4bit", "8bit"],
        to="folder:../../out/{source}-MLX-{variant}",
        card={"notes": "Mine."},
        accept=[ACCEPTED],
    )
    User(repo).run("run", "--recipe", "recipes/r.yaml", "--work", root / "work", "--into", "cards")
    return tree


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Only to be copied or read."""
    return make(tmp_path_factory.mktemp("forged"))


@pytest.fixture
def tree(made: Tree, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tree, whose card is put back afterwards; what `upload` is asked to send goes nowhere."""
    kept = {path: path.read_bytes() for path in sorted(made.card.iterdir())}
    monkeypatch.chdir(made.root / "repo")
    yield made
    shutil.rmtree(made.root / "out", ignore_errors=True)
    for path, content in kept.items():
        path.write_bytes(content)


def leaves(data: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values that are no containers, and of empty ones."""
    if isinstance(data, dict) and data:
        return [path for key, value in data.items() for path in leaves(value, (*at, key))]
    if isinstance(data, list) and data:
        return [path for number, value in enumerate(data) for path in leaves(value, (*at, number))]
    return [at]


def other(value: Any) -> Any:
    """Another value, of the same type where there is a type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value + 0.001 if value < 0.5 else value - 0.001
    if isinstance(value, str):
        turned = value.translate(str.maketrans("0123456789abcdef", "1234567890bcdefa"))
        return turned if turned != value else f"{value}x"
    if isinstance(value, list):
        return ["de"]
    return {"x": "y"} if isinstance(value, dict) else "x"


def test_evidence_as_it_was_made_is_published(tree: Tree) -> None:
    checks = tree.upload()
    assert {name: check.status for name, check in checks.items() if check.status not in ("pass", "skip")} == {}
    assert (tree.root / "out/Scripted-MLX-4bit/README.md").is_file()
    assert "claimed" not in checks["facts-known"].message


def test_a_job_that_publishes_one_of_several_variants_needs_less_room_and_publishes(tree: Tree) -> None:
    evidence = tree.evidence
    room = next(check for check in evidence["checks"] if check["id"] == "room")
    room["message"] = "disk and memory suffice for about 975.4 GB of files and 1.2 MB of weights at a time"
    tree.put(evidence)
    assert tree.upload()["facts-known"].status == "pass"
    room["message"] = "there is no need to look"
    tree.put(evidence)
    assert tree.upload()["facts-known"].status == "fail"


EVERY = (
    "licence.id",
    "language",
    "config",
    "model",
    "source",
    "recipe",
    "destination",
    "variant",
    "words",
    "tools",
    "generator",
    "kit",
    "smoke",
    "fidelity",
    "benchmark",
    "ladder",
    "checks",
)


@pytest.mark.parametrize("top", EVERY)
def test_no_field_can_be_forged(tree: Tree, top: str) -> None:
    """Each value below a key is changed for itself; what cannot even be read or rendered is bad input."""
    good = tree.evidence
    if top == "benchmark" and good["benchmark"] is None:
        pytest.skip("this machine was too unsteady for a speed")
    begin = tuple(top.split("."))
    at = good
    for part in begin:
        at = at[part]
    everywhere = leaves(at, begin)
    assert everywhere
    chosen = everywhere if len(everywhere) < 40 else everywhere[:: len(everywhere) // 40]
    let_through = [path for path in chosen if not _refused(tree, _changed(good, path))]
    assert [path for path in let_through if not _of_the_hour(good, path)] == []


def _of_the_hour(good: dict[str, Any], path: tuple[Any, ...]) -> bool:
    """What differs from machine to machine and from day to day, and stands on no card."""
    if path[:2] == ("model", "made_on"):
        return path[2] in ("architecture", "system")
    return path[0] == "checks" and good["checks"][path[1]]["id"] in ("not-taken", "revision", "twin-equal", "room")


def _changed(good: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    data = copy.deepcopy(good)
    at: Any = data
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = other(at[path[-1]])
    return data


def _refused(tree: Tree, evidence: dict[str, Any]) -> bool:
    try:
        tree.put(evidence)
    except Exception:  # noqa: BLE001 -- a forger's card that cannot be rendered says nothing
        (tree.card / "evidence.json").write_text(json_text(evidence), encoding="utf-8")
    try:
        checks = tree.upload()
    except BadInput:
        return True
    gone = (tree.root / "out").exists()
    shutil.rmtree(tree.root / "out", ignore_errors=True)
    return not gone and any(check.status == "fail" for check in checks.values())


def _check(evidence: dict[str, Any], name: str) -> dict[str, Any]:
    return next(check for check in evidence["checks"] if check["id"] == name)


NAMED: dict[str, tuple[Change, str]] = {
    "licence": (lambda e: e["licence"].update(id="mit"), 'licence.id says "mit", but inspect.json says "apache-2.0"'),
    "licence name": (lambda e: e["licence"].update(name="Ours"), 'licence.name says "Ours", but'),
    "licence link": (lambda e: e["licence"].update(link="https://x.y"), 'licence.link says "https://x.y", but'),
    "languages": (lambda e: e.update(language=["en", "de"]), 'language says ["en", "de"], but'),
    "context": (lambda e: e["config"].update(context=10**6), "config.context says 1000000, but"),
    "parameters": (
        lambda e: e["model"].update(parameters=7 * 10**9),
        "model.parameters says 7000000000, but convert.json",
    ),
    "bits": (lambda e: e["model"].update(bits_per_weight=8.5), "model.bits_per_weight says 8.5, but"),
    "backend": (lambda e: e["model"]["made_on"].update(backend="cuda"), 'model.made_on.backend says "cuda", but'),
    "ends": (lambda e: e["smoke"].update(stop_ids=[0]), "smoke.stop_ids"),
    "capabilities": (
        lambda e: e["smoke"]["capabilities"].update(tools="listed"),
        'smoke.capabilities.tools says "listed"',
    ),
    "tools": (lambda e: e["tools"].update(mlx="9.9"), 'tools.mlx says "9.9", but convert.json says'),
    "template": (lambda e: e["smoke"].update(chat_template=False), "smoke.chat_template says false, but"),
    "digest": (lambda e: e["model"]["files"][0].update(sha256="0" * 64), "model.files[0].sha256 says"),
    "source": (lambda e: e["source"].update(identity="0" * 64), "source.identity says"),
    "base model": (lambda e: e["source"].update(base_model="big/lab"), 'source.base_model says "big/lab"'),
    "divergence": (lambda e: e["fidelity"].update(mean_kld=0.0), "fidelity.mean_kld says 0.0, but fidelity.json says"),
    "answer": (lambda e: e["smoke"]["exchange"].update(answer="I am conscious."), "smoke.exchange.answer says"),
    "notes": (lambda e: e["words"].update(notes="Best."), 'words.notes says "Best.", but the recipe says "Mine."'),
    "version": (lambda e: e.update(generator="0.0.1"), 'generator says "0.0.1", but this version says'),
    "a check's words": (lambda e: _check(e, "licence").update(message="all is well"), '].message says "all is well"'),
    "a key of its own": (
        lambda e: e["config"].update(experts=128),
        "config.experts says 128, but inspect.json says nothing",
    ),
    "a key less": (lambda e: e["config"].pop("model_type"), "config.model_type says nothing, but"),
    "another type": (lambda e: e["config"].update(context=float(e["config"]["context"])), "config.context says"),
    "control characters": (lambda e: e["source"].update(name="\x1b[2J"), 'source.name says "\\u001b[2J"'),
    "a long text": (lambda e: e["source"].update(name="n" * 5000), 'source.name says "nnn'),
}


@pytest.mark.parametrize("field", NAMED)
def test_the_refusal_names_the_field_and_both_values_and_is_short(tree: Tree, field: str) -> None:
    change, words = NAMED[field]
    evidence = tree.evidence
    change(evidence)
    tree.put(evidence)
    check = tree.upload()["facts-known"]
    assert check.status == "fail"
    assert words in check.message
    assert check.message.isprintable()
    assert len(check.message) < 1500
    assert not (tree.root / "out").exists()


LISTS: dict[str, tuple[Change, str]] = {
    "none at all": (lambda e: e.update(checks=[]), "lists no check of inspect"),
    "one less": (lambda e: e["checks"].pop(0), "lacks checks of inspect"),
    "one twice": (lambda e: e["checks"].append(e["checks"][0]), "twice"),
    "an unknown one": (lambda e: e["checks"].append({**e["checks"][0], "id": "better"}), "does not have: better"),
    "of an unknown stage": (lambda e: e["checks"].append({**e["checks"][0], "stage": "gsm8k"}), "lists stages that"),
    "a failed one": (lambda e: e["checks"][3].update(status="fail"), "failed"),
    "a failed one with a reason": (lambda e: e["checks"][3].update(status="fail", accepted="so what"), "failed"),
    "accepted without the recipe": (
        lambda e: e["checks"][3].update(status="warn", accepted="so what"),
        "does not accept",
    ),
    "accepted in other words": (
        lambda e: next(c for c in e["checks"] if c["id"] == "not-taken").update(status="warn", accepted="its ours"),
        "does not accept",
    ),
    "a test that is gone": (lambda e: _without(e, "smoke"), "it was not tested"),
    "a measurement that is gone, its checks not": (
        lambda e: e["missing"].update(fidelity="") or e.update(fidelity=None),
        "but fidelity is null",
    ),
    "words of its own": (lambda e: _without(e, "fidelity", " at all, it is perfect"), "is not a reason"),
    "an exemption of its own": (lambda e: _exempt(e, "we know it"), "does not accept"),
}


def _exempt(evidence: dict[str, Any], reason: str) -> None:
    _without(evidence, "smoke")
    evidence["untested"] = reason


def _without(evidence: dict[str, Any], stage: str, why: str = "") -> None:
    """Take a measurement out, with all that says of it."""
    evidence[stage] = None
    evidence["missing"][stage] = why
    evidence["checks"] = [check for check in evidence["checks"] if check["stage"] != stage]
    for rung in evidence["ladder"]:
        if stage == "fidelity" and rung["label"] == evidence["variant"]["label"]:
            rung.update(dict.fromkeys(("mean_kld", "mean_kld_error", "same_first_choice", "against")))


@pytest.mark.parametrize("name", LISTS)
def test_the_list_of_checks_is_closed_and_complete(tree: Tree, name: str) -> None:
    change, words = LISTS[name]
    evidence = tree.evidence
    change(evidence)
    tree.put(evidence)
    checks = tree.upload()
    failed = [check.message for check in checks.values() if check.status == "fail"]
    if name == "a test that is gone":
        assert "no smoke" in checks["evidence-complete"].message
    else:
        assert words in checks["checks-complete"].message
    assert failed
    assert not (tree.root / "out").exists()


def test_what_another_machine_measured_is_claimed_and_said(tree: Tree, tmp_path: Path) -> None:
    """Without reports of these bytes the question, the template and the ends are still found again."""
    elsewhere = Tree(tmp_path)
    shutil.copytree(tree.root, tmp_path, dirs_exist_ok=True)
    for name in ("smoke", "fidelity", "benchmark", "card"):
        for variant in ("4bit", "8bit"):
            (tmp_path / "work/r" / variant / f"{name}.json").unlink()
    checks = elsewhere.upload()
    assert {name: check.status for name, check in checks.items() if check.status not in ("pass", "skip")} == {}
    assert "claimed only by the evidence: smoke, fidelity" in checks["facts-known"].message
    shutil.rmtree(tmp_path / "out")
    for change, words in (
        (lambda e: e["smoke"]["capabilities"].update(tools="listed"), "but the source's chat template says"),
        (lambda e: e["smoke"]["exchange"]["messages"][0].update(content="Hi"), "smoke.exchange.messages[0].content"),
        (lambda e: e["smoke"]["asked"].update(prompt="Hi"), "smoke.asked.prompt"),
        (lambda e: e["smoke"].update(system="own-turn"), "smoke.system"),
        (lambda e: e["smoke"]["options"].update(enable_thinking=True), "smoke.options.enable_thinking"),
        (lambda e: e["smoke"].update(stop_ids=[0, 1, 2, 3]), "smoke.stop_ids"),
        (lambda e: e["ladder"][0].update(mean_kld=0.0), "ladder[0].mean_kld says 0.0, but the evidence itself says"),
    ):
        evidence = tree.evidence
        change(evidence)  # type: ignore[no-untyped-call]
        elsewhere.put(evidence)
        assert words in elsewhere.upload()["facts-known"].message
    assert not (tmp_path / "out").exists()


def test_somebody_who_vouches_stands_for_what_was_measured_elsewhere_and_for_nothing_else(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = tree.evidence
    evidence["smoke"]["exchange"]["answer"] = "Another machine's."
    tree.put(evidence)
    assert tree.upload()["facts-known"].status == "fail"
    monkeypatch.setattr(upload_stage, "judged", lambda *_: Vouched("pass", "a signature", by="a runner"))
    checks = tree.upload()
    assert checks["facts-known"].status == "pass"
    assert "vouched for by a runner: smoke" in checks["facts-known"].message
    shutil.rmtree(tree.root / "out")
    evidence["licence"]["id"] = "mit"
    tree.put(evidence)
    assert "licence.id" in tree.upload()["facts-known"].message


def test_the_policy_is_asked_about_the_licence_of_the_evidence(tree: Tree) -> None:
    evidence = tree.evidence
    evidence["licence"]["id"] = "mit"
    tree.put(evidence)
    check = tree.upload()["licence-allowed"]
    assert (check.status, check.message) == (
        "fail",
        'of the evidence the licence is "mit", which the policy does not allow',
    )
    assert "mlx-publish.yaml:1" in check.remedy


def test_evidence_that_is_none_is_bad_input_and_names_the_key(tree: Tree) -> None:
    evidence = tree.evidence
    evidence["score"] = 99
    (tree.card / "evidence.json").write_text(json_text(evidence))
    with pytest.raises(BadInput, match="score"):
        tree.upload()


def test_a_key_that_stands_in_the_evidence_twice_is_bad_input(tree: Tree) -> None:
    path = tree.card / "evidence.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('  "recipe":', '  "recipe": "other",\n  "recipe":', 1), encoding="utf-8")
    with pytest.raises(BadInput, match="appears twice"):
        tree.upload()
