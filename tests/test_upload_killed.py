"""Killed at any moment, or two at once: main is as it was or complete, and the next run finishes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import in_process
from hub import Hub
from mlx_publish.evidence.evidence import SourceSpec
from mlx_publish.hub.manifest import manifest
from mlx_publish.hub.publish import Order, publish
from pipeline import User, digests, wait_for

SOURCE = {"name": "Model", "repo": "acme/Model", "base_model": "acme/Model"}
SHARDS = 10
# Ten times the bytes: the kills come at the same steps.
NIGHTLY = [pytest.mark.slow, pytest.mark.nightly]
PUBLISH = f"""
import sys
from pathlib import Path
from mlx_publish.errors import PublishError
from mlx_publish.evidence.evidence import SourceSpec
from mlx_publish.hub.manifest import manifest
from mlx_publish.hub.publish import Order, publish

folder, repo, tag = sys.argv[1:]
source = SourceSpec(**{SOURCE}, identity="a" * 64, pipeline_tag=None)
try:
    begun = Path(folder + "-" + repo.replace("/", "-"))
    publish(Order(repo, manifest(Path(folder)), source, "all of it", tag, begun), print)
except PublishError as error:
    sys.exit(f"{{type(error).__name__}}: {{error}}")
"""


@dataclass
class Uploads:
    """A Hub, a user, and how an upload of a folder is started: nothing but its last stage."""

    hub: Hub
    user: User

    def start(self, folder: Path, repo: str, tag: str = "v1") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", PUBLISH, str(folder), repo, tag],
            env=self.user.environment,
            cwd=self.user.home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def finish(self, folder: Path, repo: str, tag: str = "v1") -> None:
        with in_process.surroundings(self.user.environment, self.user.home):
            begun = folder.with_name(f"{folder.name}-{repo.replace('/', '-')}")
            source = SourceSpec.model_validate({**SOURCE, "identity": "a" * 64, "pipeline_tag": None})
            publish(Order(repo, manifest(folder), source, "all of it", tag, begun), lambda _: None)

    def remote(self, repo: str) -> dict[str, str]:
        """SHA-256 of what main holds on the Hub's disk."""
        found = self.hub.store.find(repo)
        assert found
        at = {path: found.object(file.digest) for path, file in self.hub.tree(repo).items() if path != ".gitattributes"}
        known = digests(found.object("x").parent)
        return {path: known[object_.name] for path, object_ in at.items()}

    def private(self, repo: str) -> bool:
        found = self.hub.store.find(repo)
        assert found
        return bool(found.state["private"])

    def answered(self) -> int:
        """Requests so far, without waiting for those that are being answered."""
        log = self.hub.root / "requests.jsonl"
        return log.read_bytes().count(b"\n") if log.exists() else 0

    def stored(self) -> int:
        """Bytes of large files in requests that arrived whole."""
        return sum(one.received for one in self.hub.log if one.method == "PUT" and "/storage/" in one.path)


@pytest.fixture
def uploads(tmp_path: Path) -> Iterator[Uploads]:
    with Hub(tmp_path / "hub") as hub:
        yield Uploads(hub, User(tmp_path / "home", hub, "write"))


def make_folder(folder: Path, size: int, seed: int) -> Path:
    """Shards of random bytes, `size` together, with the evidence by which a repo is ours."""
    noise = random.Random(seed)  # noqa: S311  no secrets
    folder.mkdir()
    for number in range(1, SHARDS + 1):
        (folder / f"model-{number:05}-of-{SHARDS:05}.safetensors").write_bytes(noise.randbytes(size // SHARDS))
    (folder / "mlx-publish.json").write_text(json.dumps({"source": SOURCE, "seed": seed}))
    (folder / "README.md").write_text(f"# {seed}\n")
    return folder


@pytest.mark.parametrize(("size", "times"), [(20_000_000, 20), pytest.param(200_000_000, 6, marks=NIGHTLY)])
def test_killed_at_any_moment_the_next_run_finishes(uploads: Uploads, tmp_path: Path, size: int, times: int) -> None:
    old, new = (make_folder(tmp_path / name, size, seed) for seed, name in enumerate(("old", "new")))
    moments = random.Random(7)  # noqa: S311  no secrets
    uploads.finish(new, "ada/Undisturbed")
    requests, states, killed = uploads.answered(), (digests(old), digests(new)), 0
    for number in range(times):
        # Half of them make a repo, half replace what is in one.
        repo, replaces = f"ada/Model-{number}", number % 2
        if replaces:
            uploads.hub.put(repo, {path.name: path for path in old.iterdir()})
        before, begun = uploads.stored(), uploads.answered()
        process = uploads.start(new, repo)
        moment = begun + moments.randrange(1, requests)
        wait_for(lambda: uploads.answered() >= moment or process.poll() is not None, 60)  # noqa: B023  used at once
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        look(uploads, repo, *states, replaces=bool(replaces))
        uploads.finish(new, repo)
        assert (uploads.remote(repo), uploads.private(repo)) == (digests(new), False)
        assert uploads.hub.tags(repo) == {"v1": uploads.hub.head(repo)}
        assert [commit.title for commit in uploads.hub.commits(repo)].count("all of it") == 1
        assert uploads.stored() - before <= 1.5 * size
    assert killed > times // 2, "most uploads ended before they were killed"


def look(uploads: Uploads, repo: str, old: dict[str, str], new: dict[str, str], *, replaces: bool) -> None:
    """What a visitor meets after the kill is never a mixture, and a repo of ours is not public before it is whole."""
    assert uploads.hub.log  # waits for what was being answered
    if not uploads.hub.exists(repo):
        return
    found = uploads.remote(repo)
    assert found in ([old, new] if replaces else [{}, new])
    assert found or uploads.private(repo)


def test_of_two_at_once_no_commit_is_lost_and_main_is_one_of_theirs(uploads: Uploads, tmp_path: Path) -> None:
    folders = [make_folder(tmp_path / f"of-{seed}", 1_000_000, seed) for seed in (1, 2)]
    processes = [uploads.start(folder, "ada/Model", folder.name) for folder in folders]
    said = [process.communicate(timeout=120)[0] for process in processes]
    done = [folder for folder, process in zip(folders, processes, strict=True) if process.returncode == 0]
    assert done, said
    assert not any("Traceback" in text for text in said), said
    assert uploads.remote("ada/Model") in [digests(folder) for folder in done]
    assert len(uploads.hub.commits("ada/Model")) == 1 + len(done)
    assert set(uploads.hub.tags("ada/Model")) == {folder.name for folder in done}
    for folder in folders:
        uploads.finish(folder, "ada/Model", f"{folder.name}-again")
        assert uploads.remote("ada/Model") == digests(folder)


def test_the_hub_is_asked_once_for_each_answer(uploads: Uploads, tmp_path: Path) -> None:
    """Each question costs a journey to the Hub; only the tags are looked at before and after."""
    old, new = (make_folder(tmp_path / f"of-{seed}", 1_000_000, seed) for seed in (1, 2))
    uploads.finish(old, "ada/Model")
    before = len(uploads.hub.log)
    uploads.finish(new, "ada/Model", "v2")
    asked = [(one.path, one.query) for one in uploads.hub.log[before:] if one.method == "GET"]
    twice = {path for path, query in asked if asked.count((path, query)) > 1}
    assert (twice, len(asked)) == ({"/api/models/ada/Model/refs"}, 7), asked
