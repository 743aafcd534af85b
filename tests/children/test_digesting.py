"""Digests of large files are taken by a child, out of the system's cache, and nothing of it can hurt the parent."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_publish.children.digesting import Changed, Digesting, Large
from mlx_publish.children.hashing import WINDOW
from mlx_publish.errors import SurroundingsError
from pipeline import ROOT, alive, children, command_of, read_so_far, wait_for

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
LONG = 4 << 30  # bytes of a file of holes that takes seconds


def holes(path: Path, size: int = LONG) -> Path:
    """Make a file of zeros, of which the disk holds nothing."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


@contextlib.contextmanager
def digesting(**files: Path) -> Iterator[Digesting]:
    """Take digests of files; nothing is left running."""
    taken = Digesting({name: Large.at(path) for name, path in files.items()})
    try:
        yield taken
    finally:
        taken.end()


def hashing() -> set[int]:
    """Return the ids of our children that take digests."""
    return {child for child in children(os.getpid()) if "children.hashing" in command_of(child)}


@pytest.mark.parametrize("size", [0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW])
def test_digests_are_those_of_the_standard_library(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "b").write_bytes(b"b")
    with digesting(a=tmp_path / "a", b=tmp_path / "b") as taken:
        digests = taken.wait()
        assert {name: digest.sha256 for name, digest in digests.items()} == {
            "a": hashlib.sha256(data).hexdigest(),
            "b": hashlib.sha256(b"b").hexdigest(),
        }
        assert digests["a"].ctime == (tmp_path / "a").stat().st_ctime_ns
        assert (taken.done, taken.read, taken.size) == (True, size + 1, size + 1)


@linux
def test_what_is_digested_is_mapped_and_not_read(tmp_path: Path) -> None:
    before = read_so_far()
    with digesting(a=holes(tmp_path / "a", 64 << 20)) as taken:
        taken.wait()
    assert read_so_far() - before < 16 << 20  # Python itself reads its modules


@linux
def test_the_child_holds_a_window_of_a_file_and_not_the_file(tmp_path: Path) -> None:
    most = 0
    with digesting(a=holes(tmp_path / "a", 1 << 30)) as taken:
        while not taken.done:
            for child in hashing():
                with contextlib.suppress(OSError, IndexError):
                    pages = int(Path(f"/proc/{child}/statm").read_text().split()[1])
                    most = max(most, pages * os.sysconf("SC_PAGE_SIZE"))
            time.sleep(0.01)
    assert 0 < most < 64 << 20


def test_a_file_that_changes_in_the_middle_is_named(tmp_path: Path) -> None:
    path = holes(tmp_path / "a", 1 << 30)
    with digesting(a=path) as taken:
        wait_for(lambda: taken.read)
        with path.open("r+b") as file:
            file.write(b"x")
        with pytest.raises(Changed, match="a changed while it was being read"):
            taken.wait()


def test_a_file_that_shrinks_in_the_middle_is_named(tmp_path: Path) -> None:
    path = holes(tmp_path / "a")
    with digesting(a=path) as taken:
        wait_for(lambda: taken.read)
        os.truncate(path, 1)
        with pytest.raises(Changed, match="a changed while it was being read"):
            taken.wait()


@linux
@pytest.mark.parametrize("shrinks", [True, False])
def test_a_child_that_the_system_kills_is_an_error_of_the_file_or_of_the_disk(tmp_path: Path, shrinks: bool) -> None:
    path = holes(tmp_path / "a")
    with digesting(a=path) as taken:
        wait_for(lambda: taken.read)
        (child,) = hashing()
        os.kill(child, signal.SIGSTOP)
        if shrinks:
            os.truncate(path, 1)
        os.kill(child, signal.SIGBUS)
        os.kill(child, signal.SIGCONT)
        if shrinks:
            with pytest.raises(Changed, match=r"^a changed"):
                taken.wait()
        else:
            with pytest.raises(SurroundingsError, match=f"a cannot be read: .* killed by signal {signal.SIGBUS}"):
                taken.wait()


def test_another_file_in_the_place_of_the_one_that_was_looked_at_is_not_digested(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    looked = Large.at(path)
    (tmp_path / "b").write_bytes(b"two")
    (tmp_path / "b").replace(path)
    taken = Digesting({"a": looked})
    with pytest.raises(Changed):
        taken.wait()
    taken.end()


@linux
def test_nothing_is_left_of_digests_that_nobody_wants_any_more(tmp_path: Path) -> None:
    with digesting(a=holes(tmp_path / "a")) as taken:
        wait_for(hashing)
        started = hashing()
    assert not any(alive(child) for child in started)
    assert taken.done


def test_without_files_there_is_no_child() -> None:
    before = hashing()
    taken = Digesting({})
    assert (taken.done, taken.wait()) == (True, {})
    taken.end()
    assert hashing() == before


@linux
def test_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import sys, time\nfrom pathlib import Path\n"
        "from mlx_publish.children.digesting import Digesting, Large\n"
        "taken = Digesting({'a': Large.at(Path(sys.argv[1]))})\n"
        "while not taken.read: time.sleep(0.01)\n"
        "print('reads', flush=True)\ntime.sleep(60)\n"
    )
    path = holes(tmp_path / "a")
    parent = subprocess.Popen(
        [sys.executable, "-c", program, path],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts"), "TMPDIR": str(tmp_path)},
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"reads\n"
        started = children(parent.pid)
        assert started
        parent.kill()
    wait_for(lambda: not any(alive(child) for child in started), 5)
