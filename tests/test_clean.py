"""Weights leave the work folder once nobody has needed them for a while, and nothing else does."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from conftest import Published
from pipeline import User, digests

DAY = 86400


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path / "home")


@pytest.fixture
def work(published: Published, tmp_path: Path) -> Path:
    """A work folder in which all was done a month ago."""
    work = published.copy_work(tmp_path / "work")
    for path in work.rglob("*.json"):
        age(path, 30)
    return work


def age(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def weights(work: Path) -> list[str]:
    return [path.relative_to(work).as_posix() for path in sorted(work.rglob("*.safetensors"))]


def clean(user: User, work: Path, *words: str, code: int = 0) -> str:
    return " ".join(user.run("clean", "--work", work, *words, code=code).text.split())


def test_old_weights_go_and_are_made_again_to_the_same_bytes(work: Path, user: User, published: Published) -> None:
    before = digests(work / "Scripted/4bit/model")
    assert "Scripted/4bit/model/model.safetensors" in weights(work)
    assert "would remove" in clean(user, work, "--dry-run")
    assert digests(work / "Scripted/4bit/model") == before
    said = clean(user, work)
    assert "removing" in said
    assert "freed" in said
    assert weights(work) == []
    kept = digests(work / "Scripted/4bit/model")
    assert kept == {path: digest for path, digest in before.items() if not path.endswith(".safetensors")}
    user.run("convert", *published.flags(published.out, work))
    assert digests(work / "Scripted/4bit/model")["model.safetensors"] == before["model.safetensors"]


def test_what_is_young_locked_changed_or_somebody_else_s_stays(work: Path, user: User) -> None:
    everything = weights(work)
    assert "freed 0" in clean(user, work, "--older-than", "31")
    with FileLock(work / "Scripted/.lock"):
        assert "skipping Scripted: another mlx-publish is running" in clean(user, work)
    assert weights(work) == everything
    mine = work / "Scripted/4bit/model/mine.safetensors"
    mine.write_bytes(b"mine")
    model = work / "Scripted/4bit/model/model.safetensors"
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    other = work / "other"
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"not ours")
    clean(user, work)
    assert weights(work) == sorted(
        one.relative_to(work).as_posix() for one in (mine, model, other / "model.safetensors")
    )


def test_a_link_is_not_followed(work: Path, user: User, tmp_path: Path) -> None:
    model = work / "Scripted/4bit/model/model.safetensors"
    elsewhere = tmp_path / "elsewhere.safetensors"
    model.rename(elsewhere)
    model.symlink_to(elsewhere)
    clean(user, work)
    assert elsewhere.is_file()
    assert model.is_symlink()


@pytest.mark.parametrize("words", [("--older-than", "soon"), ("--older-than", "-1"), ("--older-than", "nan")])
def test_days_are_a_number(work: Path, user: User, words: tuple[str, ...]) -> None:
    assert "is not a number of days" in clean(user, work, *words, code=2)


def test_the_policy_says_how_long_and_a_job_without_one_keeps_all(work: Path, user: User) -> None:
    everything = weights(work)
    user.more["MLX_PUBLISH_INPUT_WORK"] = str(work)
    assert "kept everything: keep_days in mlx-publish.yaml" in clean(user, work, "--from-env")
    policy = user.home / "mlx-publish.yaml"
    policy.write_text("keep_days: 31\n")
    assert "freed 0" in clean(user, work)
    assert weights(work) == everything
    assert "would remove" in clean(user, work, "--from-env", "--older-than", "29", "--dry-run")
    policy.write_text("keep_days: 29\n")
    assert "removing" in clean(user, work, "--from-env")
    assert weights(work) == []
    policy.write_text("keep_days: soon\n")
    assert "mlx-publish.yaml:1" in clean(user, work, code=2)


def test_the_wrong_folder_is_answered_with_what_to_do(user: User, tmp_path: Path) -> None:
    said = clean(user, tmp_path / "nowhere", code=2)
    assert "there is no work folder here" in said
    assert "Change to the folder where mlx-publish ran" in said
    other = tmp_path / "photos"
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"not ours")
    assert "contains no reports of mlx-publish" in clean(user, other, code=2)
