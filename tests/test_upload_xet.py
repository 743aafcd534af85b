"""The same upload through Xet, whose storage is a folder: what arrived is not sent again, and a commit is one commit."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import Fault, Hub
from pipeline import User, digests, wait_for
from test_upload_killed import Uploads, make_folder

pytest.importorskip("hf_xet")
SIZE = 20_000_000


class ThroughXet(Uploads):
    """Counts what lies in Xet's storage instead of requests for it."""

    def stored(self) -> int:
        assert self.hub.xet
        return sum(path.stat().st_size for path in (self.hub.xet / "xet/xorbs/xorbs").glob("*") if path.is_file())


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[Uploads]:
    with Hub(tmp_path / "hub", xet=True) as hub:
        yield ThroughXet(hub, User(tmp_path / "home", hub, "write"))


def test_one_commit_brings_everything_and_the_same_again_nothing(uploads: Uploads, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "new", SIZE, 1)
    uploads.finish(folder, "ada/Model")
    assert uploads.remote("ada/Model") == digests(folder)
    assert (uploads.private("ada/Model"), uploads.hub.tags("ada/Model")) == (
        False,
        {"v1": uploads.hub.head("ada/Model")},
    )
    assert [commit.title for commit in uploads.hub.commits("ada/Model")] == ["all of it", "initial commit"]
    # Not one byte of a large file went by the old way.
    assert not [one for one in uploads.hub.log if "/storage/" in one.path or "/lfs/" in one.path]
    stored, posted = uploads.stored(), len(writes(uploads))
    assert SIZE <= stored < 1.1 * SIZE
    uploads.finish(folder, "ada/Model")
    assert (uploads.stored(), len(writes(uploads))) == (stored, posted)


def test_after_a_commit_that_failed_nothing_that_arrived_is_sent_again(uploads: Uploads, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "new", SIZE, 1)
    uploads.hub.faults.append(Fault("POST", "/commit/", status=500, times=4))
    process = uploads.start(folder, "ada/Model")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "the Hub answered 500" in said
    assert (uploads.remote("ada/Model"), uploads.private("ada/Model")) == ({}, True)
    stored = uploads.stored()
    uploads.finish(folder, "ada/Model")
    assert uploads.stored() <= 1.01 * stored
    assert uploads.remote("ada/Model") == digests(folder)
    assert uploads.private("ada/Model") is False


def test_killed_in_the_middle_the_next_run_finishes(uploads: Uploads, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "new", 10 * SIZE, 1)
    process = uploads.start(folder, "ada/Model")
    wait_for(lambda: uploads.stored() > 0 or process.poll() is not None, 60)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert (uploads.remote("ada/Model"), uploads.private("ada/Model")) == ({}, True)
    uploads.finish(folder, "ada/Model")
    assert uploads.stored() <= 1.5 * 10 * SIZE
    assert uploads.remote("ada/Model") == digests(folder)
    assert [commit.title for commit in uploads.hub.commits("ada/Model")] == ["all of it", "initial commit"]


def writes(uploads: Uploads) -> list[str]:
    return [one.path for one in uploads.hub.log if one.method not in ("GET", "HEAD")]
