"""What a killed run left is removed by the next start; what lives, and what is not ours, stays."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlx_publish.hub.folder import publish_folder
from mlx_publish.text import temporary
from mlx_publish.text.files import write_atomically
from mlx_publish.text.temporary import PREFIX, TemporaryFolder, remove_if_left, remove_left
from mlx_publish.work import Work
from models import make_model
from pipeline import User, leftovers, wait_for
from samples import record

SCRIPTS = Path(__file__).parents[1] / "scripts"
OWNER = """
import os, sys, time
from pathlib import Path
from mlx_publish.text.temporary import TemporaryFolder
made = TemporaryFolder()
(made.path / "closed").mkdir()
(made.path / "closed" / "file").touch()
(made.path / "closed").chmod(0)
print(made.path, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TMPDIR of one's own, at which this process has not looked yet."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    temporary._look_once.cache_clear()
    return folder


@contextmanager
def owner(place: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that has a temporary folder."""
    environment = {**os.environ, "TMPDIR": str(place), "PYTHONPATH": str(SCRIPTS)}
    with subprocess.Popen([sys.executable, "-c", OWNER], env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_a_folder_is_empty_closed_to_others_and_gone_afterwards(place: Path) -> None:
    with TemporaryFolder() as folder:
        assert folder.parent == place
        assert folder.stat().st_mode & 0o777 == 0o700
        assert list(folder.iterdir()) == []
        (folder / "deep").mkdir()
        (folder / "deep" / "file").touch()
        (folder / "out").symlink_to(place.parent)
    assert list(place.iterdir()) == []
    assert place.parent.exists()


def test_it_goes_with_its_object_and_at_the_end_of_the_program(place: Path) -> None:
    made = TemporaryFolder()
    path = made.path
    del made
    assert not path.exists()
    code = "from mlx_publish.text.temporary import TemporaryFolder; kept = TemporaryFolder(); print(kept.name)"
    environment = {**os.environ, "TMPDIR": str(place), "PYTHONPATH": str(SCRIPTS)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith(str(place / PREFIX))
    assert list(place.iterdir()) == []


def test_the_next_start_removes_what_a_killed_process_left(place: Path) -> None:
    with owner(place) as (process, left):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (left / "closed").exists()
        with TemporaryFolder() as folder:
            assert list(place.iterdir()) == [folder]


def test_a_living_one_keeps_its_folder(place: Path) -> None:
    with owner(place) as (_, living), TemporaryFolder() as own:
        remove_left(place)
        remove_if_left(living)
        assert living.exists()
        assert own.exists()


def test_only_folders_of_this_name_and_user_that_are_no_links_go(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").touch()
    kept = (
        f"{PREFIX}notes",
        f"{PREFIX}abcdefgh-mine",
        "mlx-publish-abcdefgh",
        f"x{PREFIX}abcdefgh",
        f"{PREFIX}ABCDEFGH",
    )
    for name in kept:
        (place / name).mkdir()
    (place / f"{PREFIX}aaaaaaaa").symlink_to(tmp_path / "elsewhere")
    (place / f"{PREFIX}bbbbbbbb").touch()
    os.mkfifo(place / f"{PREFIX}cccccccc")
    (place / f"{PREFIX}dddddddd").mkdir()
    (place / f"{PREFIX}dddddddd" / "link").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)
    remove_left(place)
    assert (place / f"{PREFIX}dddddddd").exists()
    monkeypatch.undo()
    remove_left(place)
    names = {f"{PREFIX}{letter * 8}" for letter in "abc"}
    assert {path.name for path in place.iterdir()} == {*kept, *names}
    assert (tmp_path / "elsewhere" / "precious").exists()


def test_a_folder_that_is_exchanged_for_another_is_left(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, other = place / f"{PREFIX}aaaaaaaa", place / "other"
    left.mkdir()
    other.mkdir()
    (other / "precious").touch()
    monkeypatch.setattr("os.fstat", lambda _: other.parent.stat())
    remove_left(place)
    assert left.exists()


def test_a_maker_whose_folder_is_taken_for_a_leftover_makes_another(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, taken = fcntl.flock, list[Path]()

    def late(handle: int, how: int) -> None:
        if not taken:  # somebody who looks for leftovers comes between making and locking
            (path,) = place.iterdir()
            taken.append(path)
            path.rmdir()
        lock(handle, how)

    monkeypatch.setattr("fcntl.flock", late)
    with TemporaryFolder() as folder:
        assert folder.exists()
        assert folder not in taken


def test_many_starts_at_once_leave_each_other_alone(place: Path) -> None:
    code = (
        "from mlx_publish.text import temporary as t\nimport tempfile\nfrom pathlib import Path\n"
        "for _ in range(150):\n"
        "    t.remove_left(Path(tempfile.gettempdir()))\n"
        "    with t.TemporaryFolder() as folder:\n"
        "        (folder / 'x').touch()\n"
        "        t.remove_left(Path(tempfile.gettempdir()))\n"
        "        assert (folder / 'x').exists()\n"
    )
    environment = {**os.environ, "TMPDIR": str(place), "PYTHONPATH": str(SCRIPTS)}
    started = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(4)]
    assert [process.wait() for process in started] == [0] * 4
    assert list(place.iterdir()) == []


def test_looking_for_leftovers_takes_no_time(place: Path) -> None:
    for number in range(2000):
        (place / f"other-{number}").touch()
    start = time.perf_counter()
    TemporaryFolder().cleanup()
    assert time.perf_counter() - start < 0.1


def test_a_destination_has_no_leftovers_of_a_killed_publication(tmp_path: Path) -> None:
    for name in (".m-4bit.new-abcdefgh", ".m-4bit.old-abcdefgh", ".m-4bit.new-notes"):
        (tmp_path / name).mkdir()
    for _ in range(2):
        publish_folder((), tmp_path / "m-4bit", record().source, adopt=True)
        temporary._look_once.cache_clear()
    assert {path.name for path in tmp_path.iterdir()} == {"tmp", "m-4bit", ".m-4bit.new-notes"}


def test_whoever_has_the_lock_of_a_recipe_removes_all_that_was_half_done(tmp_path: Path) -> None:
    work = Work(tmp_path, "tiny")
    for label in ("source", "4bit"):
        for name in (".model.new-abcdefgh", ".model.old-abcdefgh", ".reference.new-store", "model", "reference"):
            (work.variant(label) / name).mkdir(parents=True)
        (work.variant(label) / ".inspect.json.abcdefgh").touch()
        (work.variant(label) / ".fidelity-positions.npz.abcdefgh").touch()
        (work.variant(label) / "model" / ".README.md.abcdefgh").touch()
        (work.variant(label) / ".mine").touch()
        (work.variant(label) / ".model.new-link").symlink_to(tmp_path)
    write_atomically(work.folder / ".digests.json", "{}")
    (work.folder / "..digests.json.abcdefgh").touch()
    with work.lock():
        work.remove_left()
    assert {path.name for path in work.folder.iterdir()} == {".digests.json", ".lock", "source", "4bit"}
    for label in ("source", "4bit"):
        there = {path.name for path in work.variant(label).iterdir()}
        assert there == {"model", "reference", ".mine", ".model.new-link"}
        assert list(work.model(label).iterdir()) == []


def test_after_kill_9_the_next_run_leaves_nothing_behind(user: User, tmp_path: Path) -> None:
    make_model(tmp_path / "m", hidden=512, layers=4)
    flags = ("convert", "--source", tmp_path / "m", "--variants", "8bit,4bit", "--work", tmp_path / "work")
    process = user.start(*flags)
    wait_for(lambda: leftovers(tmp_path / "work") or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    # Another command of the same recipe, that converts nothing.
    user.run("inspect", *flags[1:], through="python")
    assert leftovers(tmp_path / "work") == []
    assert not [path for path in (user.home / "tmp").iterdir() if path.name.startswith(PREFIX)]
