"""Cards in a work tree: put there, proposed as a pull request, and published as they were reviewed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from act import GH
from conftest import once
from mlx_publish.text.files import json_text
from models import answer_table, make_scripted
from pipeline import Ended, User, checks, digests, read_json, write_recipe


def git(folder: Path, *words: str) -> str:
    """Run git as somebody."""
    who = ("-c", "user.name=Me", "-c", "user.email=me@example.com", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture(scope="session")
def carded(shared: Path) -> Path:
    """A folder with a recipe of two variants that ran until its cards lay in `cards`."""

    def make(root: Path) -> None:
        make_scripted(root / "Scripted", answer_table())
        recipe = write_recipe(
            root / "recipes/tiny.yaml",
            source="../Scripted",
            variants=["4bit", "8bit"],
            base_model="acme/base",
            to="folder:../out/{source}-{bits}bit",
            smoke={"max_tokens": 16},
        )
        User(root / "home").run("run", "--recipe", recipe, "--work", root / "work", "--into", root / "cards")

    return once(shared / "carded", make)


@pytest.fixture
def here(carded: Path, tmp_path: Path) -> Path:
    """A copy of it as a clone of a repo that has no card yet."""
    root = shutil.copytree(carded, tmp_path / "repo")
    git(tmp_path, "init", "--bare", "--quiet", str(tmp_path / "origin.git"))
    git(root, "init", "--quiet")
    (root / ".gitignore").write_text("home/\nwork/\nout/\nScripted/\ncards/\n")
    git(root, "add", ".gitignore", "recipes")
    git(root, "commit", "--quiet", "--message", "A recipe")
    git(root, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(root, "push", "--quiet", "origin", "main")
    (root / ".gitignore").write_text("home/\nwork/\nout/\nScripted/\n")
    return root


@pytest.fixture
def reviewer(here: Path, tmp_path: Path) -> User:
    """Somebody with a program called gh that writes down what it is asked."""
    program = tmp_path / "bin" / "gh"
    program.parent.mkdir()
    program.write_text(GH)
    program.chmod(0o755)
    more = {name: str(tmp_path / name.lower()) for name in ("GH_LOG", "GH_OPEN", "GH_BODY")}
    return User(tmp_path / "home", more=more | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"})


def review(user: User, root: Path, code: int = 0) -> Ended:
    """Propose the cards, from the root of the repo."""
    home, user.home = user.home, root
    try:
        return user.run("review", "--recipe", root / "recipes/tiny.yaml", "--cards", root / "cards", code=code)
    finally:
        user.home = home


def test_card_evidence_and_chart_lie_where_they_are_reviewed(carded: Path) -> None:
    for label in ("4bit", "8bit"):
        folder, model = carded / f"cards/local/Scripted-{label}", carded / f"work/tiny/{label}/model"
        files = digests(folder)
        assert set(files) == {"README.md", "evidence.json", "ladder.svg"}
        published = digests(model)
        assert files["README.md"] == published["README.md"]
        assert files["evidence.json"] == published["mlx-publish.json"]


def test_one_branch_and_one_pull_request_a_recipe(here: Path, reviewer: User, tmp_path: Path) -> None:
    assert "pull request: https://github.com/lab/models/pull/7" in review(reviewer, here).text
    asked = (tmp_path / "gh_log").read_text().splitlines()
    assert [line.split()[:2] for line in asked] == [["pr", "list"], ["pr", "create"]]
    assert "--head mlx-publish/tiny --base main" in asked[1]
    body = (tmp_path / "gh_body").read_text(encoding="utf-8")
    for words in (
        "### Scripted-4bit",
        "### Scripted-8bit",
        "It is new",
        "bits per weight",
        "cards/local/Scripted-4bit",
    ):
        assert words in body
    pushed = git(here, "ls-tree", "-r", "--name-only", "origin/mlx-publish/tiny").split()
    assert "cards/local/Scripted-4bit/README.md" in pushed
    assert not [path for path in pushed if path.startswith(("work/", "out/", "home/"))]
    assert "nothing changed" in review(reviewer, here).text


def test_a_second_run_updates_it_and_shows_what_changed(here: Path, reviewer: User, tmp_path: Path) -> None:
    review(reviewer, here)
    git(here, "push", "--quiet", "origin", "HEAD:main")
    git(here, "switch", "--quiet", "main")
    git(here, "merge", "--quiet", "mlx-publish/tiny")
    path = here / "cards/local/Scripted-4bit/evidence.json"
    measured = path.read_text(encoding="utf-8")
    before = read_json(path)
    before["fidelity"]["mean_kld"] = 1e-4
    path.write_text(json.dumps(before), encoding="utf-8")
    git(here, "commit", "--quiet", "--all", "--message", "What was measured once")
    git(here, "push", "--quiet", "origin", "main")
    path.write_text(measured, encoding="utf-8")
    (tmp_path / "gh_open").write_text('[{"number": 7, "url": "https://github.com/lab/models/pull/7"}]')
    review(reviewer, here)
    assert "pr edit 7" in (tmp_path / "gh_log").read_text()
    body = (tmp_path / "gh_body").read_text(encoding="utf-8")
    assert re.search(r"\| mean KLD, nats \| 0\.000100 \| ↑ 0\.\d+ \|", body), body
    assert "The files are those of before" in body


def test_a_card_that_is_not_what_its_evidence_gives_is_not_proposed(here: Path, reviewer: User, tmp_path: Path) -> None:
    path = here / "cards/local/Scripted-8bit/README.md"
    path.write_text(path.read_text(encoding="utf-8") + "More than was measured.\n", encoding="utf-8")
    output = review(reviewer, here, code=1).text
    assert "cards/local/Scripted-8bit/README.md:" in output
    assert "mlx-publish card --recipe" in output
    assert not (tmp_path / "gh_log").exists()
    assert git(here, "branch", "--all", "--list", "*mlx-publish*") == ""


def test_without_gh_or_cards_it_is_said_what_to_do(here: Path, tmp_path: Path) -> None:
    user = User(tmp_path / "other", more={"PATH": str(Path(shutil.which("git") or "").parent)})
    if shutil.which("gh", path=user.more["PATH"]):
        pytest.skip("this machine has gh beside git")
    assert "there is no gh on the PATH" in review(user, here, code=4).text
    shutil.rmtree(here / "cards")
    assert "there is no card of tiny" in review(user, here, code=2).text


def publish(user: User, root: Path, code: int = 0) -> Ended:
    """Publish what was reviewed."""
    flags = ("--recipe", root / "recipes/tiny.yaml", "--work", root / "work", "--cards", root / "cards")
    return user.run("upload", *flags, code=code)


def test_what_was_reviewed_is_published_byte_for_byte(here: Path, reviewer: User) -> None:
    reviewed = digests(here / "cards/local/Scripted-4bit")
    shutil.rmtree(here / "work/tiny/4bit/model")  # days have passed: it is converted again
    (here / "work/tiny/8bit/model/README.md").write_text("something else", encoding="utf-8")
    publish(reviewer, here)
    out = digests(here / "out/Scripted-4bit")
    assert out["README.md"] == reviewed["README.md"]
    assert out["mlx-publish.json"] == reviewed["evidence.json"]
    assert digests(here / "out/Scripted-8bit")["README.md"] == digests(here / "cards/local/Scripted-8bit")["README.md"]


@pytest.mark.parametrize("what", ["card", "number", "weights"])
def test_what_was_not_reviewed_is_not_published(here: Path, reviewer: User, what: str) -> None:
    folder = here / "cards/local/Scripted-4bit"
    if what == "card":
        text = (folder / "README.md").read_text(encoding="utf-8")
        (folder / "README.md").write_text(text.replace("4.5", "4.4", 1), encoding="utf-8")
    evidence = read_json(folder / "evidence.json")
    if what == "number":
        evidence["fidelity"]["mean_kld"] /= 2
    if what == "weights":
        next(file for file in evidence["model"]["files"] if file["path"] == "model.safetensors")["sha256"] = "0" * 64
    if what != "card":
        (folder / "evidence.json").write_text(json_text(evidence), encoding="utf-8")
    ended = publish(reviewer, here, code=1)
    failed = {id_ for id_, status in checks(here / "work/tiny/4bit", "upload").items() if status == "fail"}
    assert ("bytes-unchanged" if what == "weights" else "card-rendered") in failed
    assert ("model.safetensors" if what == "weights" else "README.md") in ended.text
    assert not (here / "out").exists()
