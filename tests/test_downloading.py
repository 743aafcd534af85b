"""A download tells how far it has come, and the client of the Hub draws nothing of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import in_process
from hub import Hub
from mlx_publish.hub.fetch import fetch
from mlx_publish.hub.repo import RepoFiles
from mlx_publish.text.progress import Step
from mlx_publish.work import Work
from models import make_model
from pipeline import User, write_recipe
from recording import frames, on_terminal, screen

SOURCE = "acme/Tiny"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture
def commit(hub: Hub, tmp_path: Path) -> str:
    """The commit of a random model on the Hub."""
    return hub.put(SOURCE, {path.name: path for path in make_model(tmp_path / "tiny").iterdir()})


def test_a_download_tells_its_bytes_and_a_second_one_has_none(hub: Hub, commit: str, tmp_path: Path) -> None:
    user, told = User(tmp_path / "home", hub, "read"), list[str | Step]()
    with in_process.surroundings(user.environment, tmp_path):
        entries = list(RepoFiles(SOURCE, commit).entries.values())
        fetch(SOURCE, commit, entries, Work(tmp_path, "tiny"), told.append).verify()
        total = sum(entry.size for entry in entries)
        steps = [step for step in told if isinstance(step, Step)]
        loaded = [step.done for step in steps if step.what == f"downloading {SOURCE}"]
        assert loaded == sorted(loaded)
        assert {step.total for step in steps} == {total}
        assert loaded[-1] == total
        assert steps[-1] == Step(f"digests of {SOURCE}", total, total)
        told.clear()
        fetch(SOURCE, commit, entries, Work(tmp_path, "tiny"), told.append).verify()
        assert {step.what for step in told if isinstance(step, Step)} == {f"digests of {SOURCE}"}


def test_on_a_terminal_there_is_one_line_of_progress_and_none_of_the_clients(
    hub: Hub, commit: str, tmp_path: Path
) -> None:
    bars = {"HF_HUB_DISABLE_PROGRESS_BARS": "0", "TQDM_POSITION": "-1", "TERM": "xterm"}
    user = User(tmp_path / "home", hub, "write", bars)
    recipe = write_recipe(tmp_path / "Tiny.yaml", source=SOURCE, revision=commit, to="lab/Tiny-{variant}")
    words = user.command("convert", "--recipe", recipe)
    code, text = on_terminal(words, user.environment, user.home, 100)
    assert code == 0, text
    for word in ("Fetching", "it/s", "B/s", "%|", "█", "Downloading bytes", "Reconstruct"):
        assert word not in text
    assert frames(text)
    assert screen(text)[-2].startswith("Next: mlx-publish run --recipe ")
