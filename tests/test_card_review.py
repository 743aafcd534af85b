"""review-cards: what a branch changes of cards is what recipe and evidence give, whoever sends it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hook_trees import make_tree, write_card
from mlx_publish.card.render import UNRENDERABLE
from mlx_publish.commands._review_cards import review_cards
from mlx_publish.github.runner import Runner
from mlx_publish.recipes.read import recipe_from_file
from test_review import git

NAMES = ("Model-0-MLX-4bit", "Model-1-MLX-4bit")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A branch on which nothing has changed so far, of a repo with two cards."""
    root = tmp_path / "repo"
    root.mkdir()
    make_tree(root, 2)
    (root / ".git").rmdir()
    git(root, "init", "--quiet")
    commit(root)
    git(root, "switch", "--quiet", "--create", "branch")
    monkeypatch.chdir(root)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    return root


def commit(root: Path) -> None:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "all")


def review(root: Path) -> tuple[int, str]:
    """What is changed is committed and looked at; returns the exit code and the summary."""
    commit(root)
    code = review_cards(
        root, "main", Path("cards"), Path("recipes"), Runner(obeys=True, summary=str(root.parent / "summary"))
    )
    return code, (root.parent / "summary").read_text(encoding="utf-8")


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_branch_without_cards_is_fine(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "other").touch()
    code, summary = review(tree)
    assert code == 0
    assert summary.startswith("### No card changed")
    assert capsys.readouterr().out == "0 cards and 0 recipes checked, 0 problems\n"


def test_new_cards_are_shown(tree: Path) -> None:
    git(tree, "switch", "--quiet", "main")
    for name in NAMES:
        git(tree, "rm", "-r", "--quiet", f"cards/lab/{name}")
    commit(tree)
    git(tree, "switch", "--quiet", "branch")
    git(tree, "reset", "--quiet", "--hard", "main")
    git(tree, "checkout", "--quiet", "main~1", "--", "cards")
    code, summary = review(tree)
    assert code == 0
    assert summary.startswith("### All cards match their evidence")
    for name in NAMES:
        assert f"| cards/lab/{name} | matches |" in summary
        assert f"<summary>Card of {name}</summary>" in summary


def test_links_lead_to_the_files_of_the_commit_that_is_judged(tree: Path) -> None:
    card = tree / "cards/lab" / NAMES[0] / "README.md"
    replace(tree / "recipes/model-0.yaml", "Words of a person", "See [the chart](ladder.svg) and [this](LICENSE)")
    render_again(tree, 0)
    assert "[the chart](ladder.svg)" in card.read_text(encoding="utf-8")
    runner = Runner(
        server="https://github.com", repo="lab/models", commit="c0ffee", summary=str(tree.parent / "summary")
    )
    commit(tree)
    assert review_cards(tree, "main", Path("cards"), Path("recipes"), runner) == 0
    summary = (tree.parent / "summary").read_text(encoding="utf-8")
    folder = f"https://github.com/lab/models/blob/c0ffee/cards/lab/{NAMES[0]}"
    assert f"| [cards/lab/{NAMES[0]}]({folder}/README.md) | matches |" in summary
    assert f"See [the chart]({folder}/ladder.svg) and this" in summary
    assert "](ladder.svg)" not in summary
    assert "](LICENSE)" not in summary


def render_again(tree: Path, number: int) -> None:
    """Write the card that the recipe and the evidence give now."""
    folder = tree / "cards/lab" / NAMES[number]
    evidence = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    evidence["words"]["notes"] = recipe_from_file(tree / f"recipes/model-{number}.yaml", elsewhere=True).spec.card.notes
    shutil.rmtree(folder)
    write_card(tree, tree / f"recipes/model-{number}.yaml", evidence)


@pytest.mark.parametrize("change", ["card", "evidence", "recipe", "template", "policy"])
def test_one_change_refuses_the_card_it_does_not_fit(
    tree: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    card = tree / "cards/lab" / NAMES[0]
    if change == "card":
        replace(card / "README.md", "0.0451", "0.0450")
    elif change == "evidence":
        replace(card / "evidence.json", "0.04512", "0.04511")
    elif change == "recipe":
        replace(tree / "recipes/model-0.yaml", "Words of a person", "Other words of a person")
    elif change == "template":
        (tree / "templates/card").mkdir(parents=True)
        (tree / "templates/card/limits.md.j2").write_text("None.\n")
    else:
        replace(tree / "mlx-publish.yaml", "namespaces: [lab]", "namespaces: [other]")
    code, summary = review(tree)
    captured = capsys.readouterr()
    assert code == 1
    assert summary.startswith("### Refused, but not because of a card" if change == "policy" else "### ")
    assert ("cards refused" in summary) is (change != "policy")
    where = "recipes/model-0.yaml" if change == "policy" else f"cards/lab/{NAMES[0]}/"
    assert where in captured.out
    assert f"::error title=Card review,file={where}" in captured.err
    if change in ("card", "evidence"):
        assert "0.0451" in captured.out
        assert ("0.0450" if change == "card" else "0.04511") in captured.out
    if change != "policy":
        assert f"Card of {NAMES[0]}</summary>" not in summary


def test_a_card_that_is_gone_is_fine_but_not_half_of_one(tree: Path) -> None:
    shutil.rmtree(tree / "cards/lab" / NAMES[0])
    assert review(tree)[0] == 0
    (tree / "cards/lab" / NAMES[1] / "evidence.json").unlink()
    assert review(tree)[0] == 1


@pytest.mark.parametrize(
    "path", ["cards/README.md", "cards/lab/x.md", "cards/lab/m/weights.bin", "cards/lab/m/a/README.md"]
)
def test_what_is_no_card_does_not_belong_there(tree: Path, capsys: pytest.CaptureFixture[str], path: str) -> None:
    (tree / path).parent.mkdir(parents=True, exist_ok=True)
    (tree / path).write_text("x\n")
    assert review(tree)[0] == 1
    assert f"{path}:1: does not belong in the folder of a card" in capsys.readouterr().out


def test_a_link_is_no_card(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = tree / "cards/lab" / NAMES[0] / "README.md"
    card.rename(tree / "elsewhere.md")
    card.symlink_to("../../../elsewhere.md")
    assert review(tree)[0] == 1
    assert "is a link" in capsys.readouterr().out


def test_evidence_that_says_a_thing_twice_is_refused(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tree / "cards/lab" / NAMES[0] / "evidence.json"
    replace(path, '  "recipe":', '  "recipe": "model-0",\n  "recipe":')
    assert json.loads(path.read_text())["recipe"] == "model-0"
    assert review(tree)[0] == 1
    assert "'recipe' appears twice in one object" in capsys.readouterr().out


def test_another_recipe_s_fault_is_not_this_branch_s(tree: Path) -> None:
    git(tree, "switch", "--quiet", "main")
    (tree / "recipes/broken.yaml").write_text("source: [\n")
    commit(tree)
    git(tree, "switch", "--quiet", "branch")
    git(tree, "merge", "--quiet", "main")
    card = tree / "cards/lab" / NAMES[0] / "README.md"
    card.write_text(card.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    code, summary = review(tree)
    assert code == 1
    assert "broken" not in summary


FORGED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a licence that the policy forbids": (
        lambda e: e["licence"].update(id="gpl-3.0"),
        'licence.id: the licence is "gpl-3.0", which the policy does not',
    ),
    "another licence than the recipe's": (
        lambda e: e["licence"].update(id="APACHE-2.0"),
        "licence.id: says 'APACHE-2.0'",
    ),
    "other languages than the recipe's": (lambda e: e.update(language=["en"]), "language: says ['en']"),
    "no checks": (lambda e: e.update(checks=[]), "checks: lists no check of inspect"),
    "a check less": (lambda e: e["checks"].pop(0), "checks: lacks checks of"),
    "a check more": (lambda e: e["checks"].append({**e["checks"][0], "id": "best"}), "does not have: best"),
    "a check twice": (lambda e: e["checks"].append(e["checks"][0]), "twice"),
    "a failed check": (lambda e: e["checks"][0].update(status="fail"), "failed"),
    "a failure that the recipe does not accept": (
        lambda e: e["checks"][0].update(status="warn", accepted="because we say so"),
        "does not accept",
    ),
    "no smoke": (lambda e: _take_out(e, "smoke"), "smoke: missing, and no recipe accepts"),
    "no fidelity": (lambda e: _take_out(e, "fidelity"), "fidelity: missing, and no recipe accepts"),
    "no fidelity, and a word less": (lambda e: e.update(fidelity=None), "fidelity: missing"),
    "an exemption of its own": (lambda e: _exempt(e, "it is fine so"), "untested: the recipe does not accept"),
    "another question than the recipe's": (lambda e: e["smoke"]["asked"].update(prompt="Hi"), "smoke.asked: says"),
}


def _exempt(evidence: dict[str, Any], reason: str) -> None:
    _take_out(evidence, "smoke")
    evidence["untested"] = reason


def _take_out(evidence: dict[str, Any], stage: str) -> None:
    evidence[stage] = None
    evidence["missing"][stage] = ""
    evidence["checks"] = [check for check in evidence["checks"] if check["stage"] != stage]


@pytest.mark.parametrize("name", FORGED)
def test_forged_evidence_with_the_card_that_it_gives_is_refused_where_the_repo_can_know(
    tree: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    change, words = FORGED[name]
    folder = tree / "cards/lab" / NAMES[1]
    evidence = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    change(evidence)
    shutil.rmtree(folder)
    try:
        write_card(tree, tree / "recipes/model-1.yaml", evidence)
    except UNRENDERABLE:  # no card can be made of it; one is claimed to be
        (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert review(tree)[0] == 1
    assert words in capsys.readouterr().out


def test_an_exemption_that_the_recipe_gives_is_fine(tree: Path) -> None:
    path = tree / "recipes/model-1.yaml"
    replace(path, "fidelity:", "accept:\n  - {check: evidence-complete, reason: too large for us}\nfidelity:")
    folder = tree / "cards/lab" / NAMES[1]
    evidence = json.loads((folder / "evidence.json").read_text(encoding="utf-8"))
    _take_out(evidence, "fidelity")
    for key in ("mean_kld", "mean_kld_error", "same_first_choice", "against"):
        evidence["ladder"][0][key] = None
    evidence["untested"] = "too large for us"
    shutil.rmtree(folder)
    write_card(tree, path, evidence)
    assert "too large for us" in (folder / "README.md").read_text(encoding="utf-8")
    assert review(tree)[0] == 0


def test_a_fault_of_the_recipe_refuses_its_card_and_is_told_at_the_recipe(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(tree / "recipes/model-1.yaml", "license:", "licence:")
    code, summary = review(tree)
    assert code == 1
    assert "file=recipes/model-1.yaml,line=8::licence: unknown key; did you mean license?" in capsys.readouterr().err
    assert f"| cards/lab/{NAMES[0]} | matches |" in summary
    assert f"| cards/lab/{NAMES[1]} | **refused** |" in summary
    assert f"Card of {NAMES[1]}</summary>" not in summary
