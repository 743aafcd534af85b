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


def review(user: User, root: Path, *more: str, code: int = 0) -> Ended:
    """Propose the cards, from the root of the repo."""
    home, user.home = user.home, root
    try:
        return user.run("review", "--recipe", root / "recipes/tiny.yaml", "--cards", root / "cards", *more, code=code)
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


def state(root: Path) -> dict[str, str]:
    """All that a command could disturb in a checkout."""
    asked = (
        "status --porcelain --ignored",
        "symbolic-ref HEAD",
        "rev-parse HEAD",
        "diff",
        "diff --cached",
        "worktree list",
    )
    told = {words: git(root, *words.split()) for words in asked}
    return told | {"branches": git(root, "branch", "--list"), "recipe": (root / "recipes/tiny.yaml").read_text()}


def test_one_branch_and_one_pull_request_a_recipe(here: Path, reviewer: User, tmp_path: Path) -> None:
    (here / "notes.txt").write_text("mine")
    (here / "staged.txt").write_text("mine too")
    git(here, "add", "staged.txt")
    before = state(here)
    text = review(reviewer, here).text
    assert "pull request: https://github.com/lab/models/pull/7" in text
    assert "Next: git switch main && git pull && git tag tiny/v1 && git push origin tiny/v1" in text
    assert state(here) == before
    asked = (tmp_path / "gh_log").read_text().splitlines()
    assert [line.split()[:2] for line in asked] == [["pr", "list"], ["pr", "create"], ["pr", "view"]]
    assert "--head mlx-publish/tiny --base main" in asked[1]
    body = (tmp_path / "gh_body").read_text(encoding="utf-8")
    assert body.startswith("| variant | closeness | size | mean KLD | top-1 agreement | tokens/s |\n")
    for words in (
        "Scripted-4bit: all numbers",
        "Scripted-8bit: all numbers",
        "- **4bit**: new",
        "bits per weight",
        "git switch main && git pull\ngit tag tiny/v1 && git push origin tiny/v1\n",
        "- **Licence**: ",
    ):
        assert words in body
    git(here, "fetch", "--quiet", "origin")
    pushed = git(here, "ls-tree", "-r", "--name-only", "origin/mlx-publish/tiny").split()
    assert sorted(pushed) == sorted(
        [".gitignore", "recipes/tiny.yaml"]
        + [
            f"cards/local/Scripted-{bits}bit/{name}"
            for bits in (4, 8)
            for name in ("README.md", "evidence.json", "ladder.svg")
        ]
    )
    head = git(here, "rev-parse", "origin/mlx-publish/tiny")
    (tmp_path / "gh_open").write_text('[{"number": 7, "url": "https://github.com/lab/models/pull/7"}]')
    review(reviewer, here)
    git(here, "fetch", "--quiet", "origin")
    assert git(here, "rev-parse", "origin/mlx-publish/tiny") == head  # the same files are not pushed again


def merged(root: Path) -> None:
    """Merge the pull request into main, there and here."""
    git(root, "fetch", "--quiet", "origin")
    git(root, "clean", "--quiet", "--force", "-d", "cards")
    git(root, "merge", "--quiet", "origin/mlx-publish/tiny")
    git(root, "push", "--quiet", "origin", "main")


def test_a_second_run_updates_it_and_shows_what_changed(here: Path, reviewer: User, tmp_path: Path) -> None:
    review(reviewer, here)
    merged(here)
    assert "nothing to review: origin/main has these cards" in review(reviewer, here).text
    git(here, "tag", "tiny/v4")
    git(here, "push", "--quiet", "origin", "tiny/v4")
    git(here, "tag", "--delete", "tiny/v4")
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
    assert re.search(r"\| mean KLD \| 0\.000100 \| ↑ 0\.\d+ \|", body), body
    assert re.search(r"- \*\*4bit\*\*: same files; mean KLD 0\.000100 → 0\.\d+\n", body), body
    assert "↑ and ↓ compare with the version on `main`." in body
    assert "git tag tiny/v5 && git push origin tiny/v5" in body


def test_a_card_that_is_not_what_its_evidence_gives_is_not_proposed(here: Path, reviewer: User, tmp_path: Path) -> None:
    path = here / "cards/local/Scripted-8bit/README.md"
    path.write_text(path.read_text(encoding="utf-8") + "More than was measured.\n", encoding="utf-8")
    output = review(reviewer, here, code=1).text
    assert "cards/local/Scripted-8bit/README.md:" in output
    assert "mlx-publish card --recipe" in output
    assert not (tmp_path / "gh_log").exists()
    assert git(here, "branch", "--all", "--list", "*mlx-publish*") == ""


def test_what_would_not_fit_the_base_branch_is_not_pushed(here: Path, reviewer: User, tmp_path: Path) -> None:
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", str(tmp_path / "origin.git"), str(other))
    (other / "templates/card").mkdir(parents=True)
    (other / "templates/card/notes.md.j2").write_text("Words of theirs.\n")
    git(other, "add", "--all")
    git(other, "commit", "--quiet", "--message", "A template")
    git(other, "push", "--quiet", "origin", "main")
    before = state(here)
    ended = review(reviewer, here, code=2)
    assert "cards/local/Scripted-4bit/" in ended.text
    assert "on top of origin/main, where it fits in your checkout" in ended.text
    assert state(here) == before
    assert git(here, "ls-remote", "origin", "*mlx-publish*") == ""


def pushed(root: Path) -> str:
    """What the remote has of the branch."""
    return git(root, "ls-remote", "origin", "refs/heads/mlx-publish/*")


def test_without_gh_or_cards_it_is_said_what_to_do(here: Path, tmp_path: Path) -> None:
    user = User(tmp_path / "other", more={"PATH": str(Path(shutil.which("git") or "").parent)})
    if shutil.which("gh", path=user.more["PATH"]):
        pytest.skip("this machine has gh beside git")
    said = " ".join(review(user, here, code=4).text.split())
    assert "gh is not installed" in said
    assert "gh auth login" in said
    assert pushed(here) == ""
    shutil.rmtree(here / "cards")
    assert "no card of tiny" in review(user, here, code=2).text


def test_a_gh_that_is_not_logged_in_stops_it_before_anything_is_pushed(
    here: Path, reviewer: User, tmp_path: Path
) -> None:
    (tmp_path / "bin/gh").write_text("#!/bin/sh\necho 'To get started, please run: gh auth login' >&2\nexit 4\n")
    before = state(here)
    assert "gh auth login" in review(reviewer, here, code=4).text
    assert state(here) == before
    assert pushed(here) == ""


@pytest.mark.parametrize(("base", "says"), [("master", "Branches of origin: main."), ("mian", "Did you mean main?")])
def test_a_base_that_does_not_exist_names_those_that_do(here: Path, reviewer: User, base: str, says: str) -> None:
    ended = review(reviewer, here, "--base", base, code=2)
    assert f"--base: origin has no branch '{base}'" in ended.text
    assert says in " ".join(ended.text.split())
    assert pushed(here) == ""


def test_the_default_branch_of_the_remote_is_the_base(here: Path, reviewer: User, tmp_path: Path) -> None:
    git(here, "push", "--quiet", "origin", "main:trunk")
    git(tmp_path / "origin.git", "symbolic-ref", "HEAD", "refs/heads/trunk")
    review(reviewer, here)
    assert "--base trunk" in (tmp_path / "gh_log").read_text()
    assert "git switch trunk && git pull" in (tmp_path / "gh_body").read_text()


def test_without_a_remote_or_outside_of_git_it_is_said_what_to_do(here: Path, reviewer: User) -> None:
    git(here, "remote", "remove", "origin")
    assert "has no remote 'origin'" in review(reviewer, here, code=2).text
    shutil.rmtree(here / ".git")
    assert "is not in a git repository" in review(reviewer, here, code=2).text


def test_a_pull_request_that_github_does_not_know_is_no_success(here: Path, reviewer: User, tmp_path: Path) -> None:
    (tmp_path / "gh_open.view").write_text('{"url": "https://github.com/lab/models/pull/7", "state": "CLOSED"}')
    ended = review(reviewer, here, code=4)
    said = " ".join(ended.text.split())
    assert "the branch mlx-publish/tiny was pushed, but GitHub has no open pull request for it" in said
    assert "gh pr create --head mlx-publish/tiny --base main" in said
    assert "pull request: http" not in said


def test_printing_needs_no_gh_and_touches_nothing(here: Path, tmp_path: Path) -> None:
    user = User(tmp_path / "other", more={"PATH": "/usr/bin:/bin"})
    git(here, "remote", "set-url", "origin", "git@github.com:lab/models.git")
    before = state(here)
    ended = review(user, here, "--print")
    assert ended.text.startswith("Cards of tiny")
    assert "](https://github.com/lab/models/blob/mlx-publish/tiny/cards/local/Scripted-4bit/README.md)" in ended.text
    assert "git tag tiny/v1" in ended.text
    printed = json.loads(review(user, here, "--print", "--json").text)
    assert set(printed) == {"title", "body", "branch", "base", "tag", "pinned"}
    assert (printed["base"], printed["tag"]) == ("main", "tiny/v1")
    assert state(here) == before


def test_an_interrupted_review_leaves_no_worktree(here: Path, reviewer: User, tmp_path: Path) -> None:
    (tmp_path / "bin/gh").write_text(
        "#!/bin/sh\ncase \"$1 $2\" in 'pr list') echo '[]' ;; *) kill -INT $PPID; sleep 5 ;; esac\n"
    )
    before = state(here)
    ended = review(reviewer, here, code=130)
    assert "interrupted" in ended.text
    assert state(here) == before
    assert not (here / ".git/worktrees").exists() or not list((here / ".git/worktrees").iterdir())


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


def merge(root: Path, tmp_path: Path, name: str, kind: str) -> None:
    """Let somebody else put a link, a file or a folder into the base branch."""
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", str(tmp_path / "origin.git"), str(other))
    path = other / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "link":
        path.symlink_to(os.path.relpath(other / ".gitignore", path.parent))
    elif kind == "file":
        path.write_text("x")
    else:
        path.mkdir()
        (path / "x").write_text("x")
    git(other, "add", "--all", "--force")
    git(other, "commit", "--quiet", "--message", "In the way")
    git(other, "push", "--quiet", "origin", "main")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cards", "link"),
        ("cards", "file"),
        ("cards/local/Scripted-4bit", "link"),
        ("cards/local/Scripted-4bit", "file"),
        ("recipes/tiny.yaml", "folder"),
        ("recipes/tiny.yaml", "link"),
        ("recipes", "file"),
    ],
)
def test_what_is_in_the_way_on_the_base_branch_is_named_before_anything_is_pushed(
    here: Path, reviewer: User, tmp_path: Path, name: str, kind: str
) -> None:
    merge(here, tmp_path, name, kind)
    said = review(reviewer, here, code=2).text
    wanted = "file" if name.endswith(".yaml") else "folder"
    assert f"{name}: is a {kind} on origin/main, and a {wanted} in your checkout" in said
    assert "mlx-publish/tiny" not in git(here, "ls-remote", "origin")


def test_the_pull_request_of_a_fork_is_not_ours(here: Path, reviewer: User, tmp_path: Path) -> None:
    theirs = {"number": 66, "url": "https://github.com/lab/models/pull/66", "isCrossRepository": True}
    (tmp_path / "gh_open").write_text(json.dumps([theirs]))
    review(reviewer, here)
    asked = (tmp_path / "gh_log").read_text().splitlines()
    assert [line.split()[:2] for line in asked] == [["pr", "list"], ["pr", "create"], ["pr", "view"]]
    (tmp_path / "gh_open").write_text(json.dumps([theirs, theirs | {"number": 7, "isCrossRepository": False}]))
    (here / "recipes/tiny.yaml").write_text((here / "recipes/tiny.yaml").read_text() + "# new\n")
    review(reviewer, here)
    assert "pr edit 7 " in (tmp_path / "gh_log").read_text()


def test_a_commit_that_git_refuses_is_not_blamed_on_the_remote(here: Path, reviewer: User) -> None:
    git(here, "config", "commit.gpgsign", "true")
    git(here, "config", "gpg.program", "false")
    said = review(reviewer, here, code=4).text
    assert "git commit failed" in said
    assert "Run 'git commit' in your checkout to see the cause" in said
