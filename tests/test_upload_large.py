"""Uploads of many files and of large ones: one commit, bounded memory, a token that ends before they do."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import in_process
from hub import Fault, Hub, Request
from mlx_publish.errors import Refused, SurroundingsError
from mlx_publish.evidence.evidence import SourceSpec
from mlx_publish.hub import commit
from mlx_publish.hub.manifest import manifest
from mlx_publish.hub.publish import Order, Receipt, publish
from pipeline import User, digests, wait_for
from test_upload_killed import PUBLISH, SOURCE, Uploads

REPO = "ada/Model"
MEASURED = f"{PUBLISH}\nimport resource\nprint('most memory', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
GB = 1 << 30


def make_shards(folder: Path, count: int, size: int, *, hole: int = 0) -> Path:
    """Files of random bytes and then a hole of zeros, which a disk does not hold."""
    noise = random.Random(count)  # noqa: S311  no secrets
    folder.mkdir()
    for number in range(1, count + 1):
        with (folder / f"model-{number:05}-of-{count:05}.safetensors").open("wb") as shard:
            shard.write(noise.randbytes(size))
            shard.truncate(size + hole)
    (folder / "mlx-publish.json").write_text(json.dumps({"source": SOURCE}))
    return folder


def send(hub: Hub, user: User, folder: Path, *, private: bool = False) -> tuple[Receipt, list[str]]:
    """Publish a folder in this process; return the receipt and what was said."""
    said: list[str] = []
    source = SourceSpec.model_validate({**SOURCE, "identity": "a" * 64, "pipeline_tag": None})
    with in_process.surroundings(user.environment, user.home):
        order = Order(REPO, manifest(folder), source, "all of it", "v1", user.home / "begun", private=private)
        return publish(order, said.append), said


def posts(hub: Hub, path: str) -> list[Request]:
    return [one for one in hub.log if one.method == "POST" and path in one.path]


def memory(uploads: Uploads, folder: Path, repo: str) -> int:
    """Bytes that a process of its own had at most as it published a folder."""
    command = [sys.executable, "-c", MEASURED, str(folder), repo, "v1"]
    done = subprocess.run(
        command, env=uploads.user.environment, cwd=uploads.user.home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.rpartition(" ")[2]) << 10


def test_600_files_are_one_commit_in_requests_that_the_hub_takes(tmp_path: Path) -> None:
    folder = make_shards(tmp_path / "model", 600, 2000)
    with Hub(tmp_path / "hub") as hub:
        uploads = Uploads(hub, User(tmp_path / "home", hub, "write"))
        receipt, said = send(hub, uploads.user, folder)
        assert uploads.remote(REPO) == digests(folder)
        assert [one.title for one in hub.commits(REPO)] == ["all of it", "initial commit"]
        assert (len(receipt.sent), hub.tags(REPO)) == (601, {"v1": hub.head(REPO)})
        assert {one.status for one in hub.log} == {200, 404} or {one.status for one in hub.log} == {200}
        # Nothing is asked about a file twice, and the commit itself asks nothing again.
        assert (len(posts(hub, "/preupload/")), len(posts(hub, "/objects/batch"))) == (3, 3)
        assert len([one for one in hub.log if one.method == "PUT" and "/storage/" in one.path]) == 600
        assert not [line for line in said if "arrived" in line]  # 1.2 MB are over at once
        again, _ = send(hub, uploads.user, folder)
        assert (again.sent, again.commit) == ((), receipt.commit)


def test_killed_among_600_files_the_next_run_sends_only_the_rest(tmp_path: Path) -> None:
    folder = make_shards(tmp_path / "model", 600, 2000)
    with Hub(tmp_path / "hub") as hub:
        uploads = Uploads(hub, User(tmp_path / "home", hub, "write"))
        process = uploads.start(folder, REPO)
        objects = hub.root / REPO / "objects"
        wait_for(lambda: process.poll() is not None or (objects.exists() and len(list(objects.iterdir())) > 300), 60)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert (uploads.remote(REPO), uploads.private(REPO)) == ({}, True)
        before = uploads.stored()
        assert before >= 300 * 2000
        send(hub, uploads.user, folder)
        assert uploads.remote(REPO) == digests(folder)
        assert uploads.stored() - before <= 300 * 2000
        assert len(hub.commits(REPO)) == 2


def test_a_batch_that_fails_is_tried_again_and_those_before_it_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "_BATCH_FILES", 4)
    folder = make_shards(tmp_path / "model", 12, 2_000_000)
    with Hub(tmp_path / "hub") as hub:
        hub.faults.append(Fault("POST", "/objects/batch", status=400, times=1))
        user = User(tmp_path / "home", hub, "write")
        _, said = send(hub, user, folder)
        # The evidence, which stands before the shards, is in the first batch.
        assert [one.status for one in posts(hub, "/objects/batch")] == [400, 200, 200, 200, 200]
        assert len(posts(hub, "/preupload/")) == 4
        assert {f"{done} of 24 MB arrived" for done in (6, 14, 22)} <= {*said}
        assert Uploads(hub, user).remote(REPO) == digests(folder)


@pytest.mark.parametrize(
    ("count", "hole", "above", "part"),
    [
        (3, 300 << 20, 200 << 20, 64 << 20),
        # What the Hub asks for: the same requests, 18 GB through a digest twice.
        pytest.param(3, 6 * GB, 5 * GB, GB, marks=[pytest.mark.slow, pytest.mark.nightly]),
    ],
)
def test_memory_does_not_grow_with_the_files(tmp_path: Path, count: int, hole: int, above: int, part: int) -> None:
    small = make_shards(tmp_path / "small", count, 1000)
    large = make_shards(tmp_path / "large", count, 1000, hole=hole)
    with Hub(tmp_path / "hub", dropping=True, multipart_above=above, part_size=part) as hub:
        uploads = Uploads(hub, User(tmp_path / "home", hub, "write"))
        usual = memory(uploads, small, "ada/Small")
        assert memory(uploads, large, REPO) - usual < 64 << 20
        sent = [one for one in hub.log if one.method == "PUT" and one.received > part // 2]
        assert len(sent) >= count * (hole // part)
        expected = {file.path: (file.size, file.sha256) for file in manifest(large)}
        tree = {path: (file.size, file.sha256) for path, file in hub.tree(REPO).items() if file.sha256}
        assert tree == {path: known for path, known in expected.items() if path.endswith(".safetensors")}


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Hub], User]:
    """Somebody without a token, in a job whose identity is exchanged for one."""
    from huggingface_hub.utils import _auth  # noqa: PLC0415

    monkeypatch.setattr(_auth, "_OIDC_TOKEN_CACHE", None)

    def job(hub: Hub) -> User:
        hub.store.create(REPO, private=False).commit("main", {}, "made by hand")
        user = User(tmp_path / "home", hub)
        user.more |= {
            "HF_OIDC_RESOURCE": REPO,
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of the job",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{hub.endpoint}/id-token",
        }
        return user

    return job


def exchanges(hub: Hub) -> int:
    return len(posts(hub, "/oauth/token"))


def test_a_token_that_ends_during_the_upload_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, publisher: Callable[[Hub], User]
) -> None:
    monkeypatch.setattr(commit, "_BATCH_FILES", 2)
    folder = make_shards(tmp_path / "model", 40, 200_000)
    with Hub(tmp_path / "hub", token_seconds=6) as hub:
        user = publisher(hub)
        hub.slow = 0.2
        send(hub, user, folder)
        assert exchanges(hub) >= 2
        assert {one.status for one in hub.log} <= {200, 404}, "a request came with a token that had ended"
        assert Uploads(hub, user).remote(REPO) == digests(folder)


def test_an_identity_that_cannot_be_exchanged_again_ends_the_upload_with_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, publisher: Callable[[Hub], User]
) -> None:
    monkeypatch.setattr(commit, "_BATCH_FILES", 2)
    folder = make_shards(tmp_path / "model", 40, 200_000)
    with Hub(tmp_path / "hub", token_seconds=3, renewed_before=0) as hub:
        user = publisher(hub)
        user.more["HF_OIDC_ID_TOKEN"] = "an identity"
        hub.slow, hub.exchanges = 0.2, 1
        with pytest.raises(Refused, match="exchange of this job's identity") as caught:
            send(hub, user, folder)
        assert caught.value.check == "destination-writable"
        assert "new identity" in caught.value.remedy
        assert "not sent again" in caught.value.remedy
        assert Uploads(hub, user).remote(REPO) == {}


def test_a_model_beyond_the_private_storage_becomes_public_before_its_commit(tmp_path: Path) -> None:
    folder = make_shards(tmp_path / "model", 4, 300_000)
    with Hub(tmp_path / "hub", private_bytes=1_000_000) as hub:
        uploads = Uploads(hub, User(tmp_path / "home", hub, "write"))
        receipt, said = send(hub, uploads.user, folder)
        assert (uploads.remote(REPO), uploads.private(REPO), receipt.private) == (digests(folder), False, False)
        assert any("becomes public now, still empty" in line for line in said)
        # What had arrived was not sent again.
        assert len([one for one in hub.log if one.method == "PUT" and "/storage/" in one.path]) == 4
        assert [one.status for one in posts(hub, "/commit/")] == [403, 200]


def test_a_model_that_is_to_stay_private_is_refused_there(tmp_path: Path) -> None:
    folder = make_shards(tmp_path / "model", 4, 300_000)
    with Hub(tmp_path / "hub", private_bytes=1_000_000) as hub:
        uploads = Uploads(hub, User(tmp_path / "home", hub, "write"))
        with pytest.raises(Refused, match="storage limit reached") as caught:
            send(hub, uploads.user, folder, private=True)
        assert caught.value.check == "hub-limits"
        assert "private: true" in caught.value.remedy
        assert (uploads.remote(REPO), uploads.private(REPO)) == ({}, True)


def test_a_commit_that_the_hub_finishes_after_its_time_is_not_made_twice(tmp_path: Path) -> None:
    folder = make_shards(tmp_path / "model", 30, 1000)
    with Hub(tmp_path / "hub") as hub:
        hub.faults.append(Fault("POST", "/commit/", kind="late", status=504))
        user = User(tmp_path / "home", hub, "write")
        receipt, _ = send(hub, user, folder)
        assert [one.title for one in hub.commits(REPO)] == ["all of it", "initial commit"]
        assert receipt.commit == hub.head(REPO)


def test_the_last_error_is_told_where_every_attempt_fails(tmp_path: Path) -> None:
    folder = make_shards(tmp_path / "model", 3, 1000)
    with Hub(tmp_path / "hub") as hub:
        hub.faults.append(Fault("POST", "/objects/batch", status=500, times=50))
        user = User(tmp_path / "home", hub, "write")
        with pytest.raises(SurroundingsError, match="the Hub answered 500"):
            send(hub, user, folder)
        assert not hub.exists(REPO)
