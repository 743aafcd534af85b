"""What a branch changes, told by git."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from mlx_publish.errors import BadInput
from mlx_publish.github.changed import Changed, changed_files
from test_review import git


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    for name in ("kept", "gone", "changed", "to be renamed"):
        (tmp_path / name).write_text(f"{name}\n")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    git(tmp_path, "switch", "--quiet", "--create", "cards")
    return tmp_path


def commit(repo: Path) -> None:
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "--message", "more")


def test_added_changed_removed_and_links(repo: Path) -> None:
    (repo / "gone").unlink()
    (repo / "changed").write_text("other\n")
    (repo / "to be renamed").rename(repo / 'odd "näme"\t')
    (repo / "link").symlink_to("kept")
    commit(repo)
    assert sorted(changed_files(repo, "main"), key=str) == sorted(
        [
            Changed(PurePosixPath("gone"), removed=True, plain=True),
            Changed(PurePosixPath("changed"), removed=False, plain=True),
            Changed(PurePosixPath("to be renamed"), removed=True, plain=True),
            Changed(PurePosixPath('odd "näme"\t'), removed=False, plain=True),
            Changed(PurePosixPath("link"), removed=False, plain=False, link=True),
        ],
        key=str,
    )


def test_what_the_base_got_meanwhile_is_not_a_change_of_the_branch(repo: Path) -> None:
    (repo / "mine").touch()
    commit(repo)
    git(repo, "switch", "--quiet", "main")
    (repo / "theirs").touch()
    commit(repo)
    git(repo, "switch", "--quiet", "cards")
    assert [str(file.path) for file in changed_files(repo, "main")] == ["mine"]


def test_nothing_changed(repo: Path) -> None:
    assert changed_files(repo, "main") == []


@pytest.mark.parametrize("base", ["nowhere", "--output=x", "-", "", "0" * 40, "main:kept"])
def test_a_base_that_git_does_not_know(repo: Path, base: str) -> None:
    before = sorted(repo.iterdir())
    with pytest.raises(BadInput) as caught:
        changed_files(repo, base)
    assert str(caught.value.place) == f"--base {base}"
    assert "fetch-depth: 0" in caught.value.remedy
    assert sorted(repo.iterdir()) == before
