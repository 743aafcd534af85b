"""Weight files arrive from the front, are proven while they pass, and go when they are finished."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import hub_read
import in_process
from hub import Fault, Hub
from hub_calls import Answer, Slice
from mlx_publish.errors import BadInput, Interrupted, Refused, SurroundingsError
from mlx_publish.evidence.digests import sha256_of
from mlx_publish.hub import ranges
from mlx_publish.hub.ranges import Remote
from mlx_publish.hub.repo import RepoFiles
from mlx_publish.hub.stream_folder import StreamFolder
from mlx_publish.hub.streaming import Fetching, cached
from mlx_publish.text.progress import Step
from pipeline import User
from streamed_child import Child, on_disk

REPO, PARTS, SHARDS, MB = "lab/Large", 1 << 18, 4, 1 << 20


def weights(seed: int, size: int) -> bytes:
    """A weight file with one tensor of random bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + np.random.default_rng(seed).bytes(size)


CONTENTS = {f"model-{n:05}-of-{SHARDS:05}.safetensors": weights(n, 3 * MB + 1000 * n) for n in range(1, SHARDS + 1)}
TOTAL, LARGEST, FIRST = sum(map(len, CONTENTS.values())), max(map(len, CONTENTS.values())), next(iter(CONTENTS))


@dataclass
class Site:
    """A Hub with the files, and somebody who asks it."""

    hub: Hub
    files: RepoFiles
    place: Path
    told: list[str]
    started: list[Fetching]

    def folder(self) -> StreamFolder:
        """What lies there for this source."""
        folder = StreamFolder(self.place / "stream")
        folder.open(f"{REPO}@{self.files.commit}", "k")
        return folder

    def fetching(self, folder: StreamFolder, links: Mapping[str, Path] | None = None) -> Fetching:
        """What brings them, all of them laid."""
        entries = [self.files.entries[path] for path in CONTENTS]
        for entry in entries:
            if entry.path in (links or {}):
                folder.link(entry.path, (links or {})[entry.path])
            elif not folder.is_laid(entry.path, entry.size):
                folder.lay(entry.path, entry.size, self.files.front(entry.path), whole=True)
        remote = Remote(REPO, self.files.commit, lambda now: self.told.append(str(now)))
        self.started.append(Fetching(folder, remote, entries, links or {}, sha256_of, lambda: None))
        return self.started[-1]

    def all_of_it(self, folder: StreamFolder, links: Mapping[str, Path] | None = None, seconds: float = 0) -> Child:
        """Let a child work until all is finished; what is wrong is raised."""
        fetching, child = self.fetching(folder, links), Child(folder, CONTENTS, seconds=seconds)
        thread = child.start()
        fetching.start()
        while thread.is_alive() and fetching.error is None:
            time.sleep(0.005)
        child.stop.set()
        thread.join()
        fetching.end()
        fetching.check()
        assert not fetching.unproven()
        return child


@pytest.fixture
def options() -> dict[str, bool]:
    return {}


@pytest.fixture
def site(tmp_path: Path, options: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(ranges, "PART", PARTS)
    monkeypatch.setattr(ranges, "_FIRST_WAIT", 0.01)
    with Hub(tmp_path / "hub", cdn=options.get("cdn", False), ranges=options.get("ranges", True)) as hub:
        commit = hub.put(REPO, dict(CONTENTS), gated=True)
        user = User(tmp_path / "home", hub, "read", {"MLX_PUBLISH_PATIENCE": "5"})
        with in_process.surroundings(user.environment, tmp_path):
            hub.put("acme/other", {"a": b"1"})
            site = Site(hub, RepoFiles(REPO, commit), tmp_path, [], [])
            yield site
            for fetching in site.started:  # another test's Hub may have the same port
                fetching.remote.end()


REDIRECTS, NO_RANGES = {"cdn": True}, {"ranges": False}


@pytest.mark.parametrize("options", [{}, REDIRECTS])
def test_each_byte_is_fetched_once_and_each_file_is_proven(site: Site) -> None:
    folder = site.folder()
    child = site.all_of_it(folder)
    assert child.proven == list(CONTENTS)
    assert not child.wrong
    assert child.read == {path: len(data) for path, data in CONTENTS.items()}
    assert site.hub.fetched() == TOTAL
    folder.look()
    assert folder.finished == set(CONTENTS)


def test_one_file_at_a_time_is_on_the_disk_and_keeps_its_header(site: Site) -> None:
    folder = site.folder()
    fetching = site.fetching(folder)
    before = on_disk(folder.path)
    child = Child(folder, CONTENTS, seconds=0.1)
    thread = child.start()
    fetching.start()
    thread.join()
    time.sleep(0.1)
    fetching.end()
    assert 0.9 * LARGEST < child.peak - before <= 1.1 * LARGEST
    assert on_disk(folder.path / "shards") <= before
    for path, data in CONTENTS.items():
        left = folder.shard(path).read_bytes()
        assert (len(left), left[: folder.header_bytes(path)]) == (len(data), data[: folder.header_bytes(path)])


@pytest.mark.parametrize("options", [REDIRECTS])
def test_no_token_travels_to_the_server_of_the_bytes_and_its_address_is_kept_until_it_expires(site: Site) -> None:
    files = site.files
    fetching = site.fetching(folder := site.folder())
    child = Child(folder, CONTENTS)
    thread = child.start()
    site.hub.expire()
    fetching.start()
    thread.join()
    fetching.end()
    assert not child.wrong
    assert {request.token_name for request in site.hub.bytes_log} == {None}
    asked = [request for request in site.hub.log if "/resolve/" in request.path]
    assert {request.token_name for request in asked} == {"read"}
    assert len(asked) < len(site.hub.bytes_log) / 2
    assert files.commit in asked[0].path


FAULTS = {
    "breaks": Fault("GET", "safetensors|/cdn/", 9, "reset", after_bytes=100_000),
    "ends too early": Fault("GET", "safetensors|/cdn/", 9, "cut", after_bytes=100_000),
    "is busy": Fault("GET", "safetensors|/cdn/", 6, status=503),
    "asks to wait": Fault("GET", "safetensors|/cdn/", 1, status=429, retry_after=1),
    "is slow": Fault("GET", "safetensors|/cdn/", 3, "slow", after_bytes=50_000),
}


@pytest.mark.parametrize("options", [{}, REDIRECTS])
@pytest.mark.parametrize("name", FAULTS)
def test_what_fails_on_the_way_is_asked_for_again(site: Site, name: str) -> None:
    fetching = site.fetching(folder := site.folder())
    fault = FAULTS[name]
    site.hub.faults.append(Fault(**vars(fault)))
    child, start = Child(folder, CONTENTS), time.monotonic()
    thread = child.start()
    fetching.start()
    thread.join()
    fetching.end()
    fetching.check()
    assert (child.wrong, len(child.proven)) == ([], SHARDS)
    assert site.hub.faults[0].times == 0
    assert site.hub.fetched() <= 1.02 * TOTAL
    if fault.retry_after:
        assert time.monotonic() - start >= 1
        assert any("the Hub answered 429; trying again in 1 s" in text for text in site.told)


@pytest.mark.parametrize("options", [NO_RANGES])
def test_a_server_without_ranges_sends_whole_files(site: Site) -> None:
    site.hub.faults.append(Fault("GET", "safetensors", 1, "cut", after_bytes=MB))
    child = site.all_of_it(site.folder())
    assert (child.wrong, child.proven) == ([], list(CONTENTS))


def test_a_server_that_fails_for_too_long_is_given_up_and_what_arrived_is_kept(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Undone before the surroundings of the site are.
    with monkeypatch.context() as patch:
        patch.setenv("MLX_PUBLISH_PATIENCE", "1")
        fetching = site.fetching(folder := site.folder())
        site.hub.faults.append(Fault("GET", "00002-of", 10_000, status=503))
        fetching.start()
        child = Child(folder, CONTENTS)
        thread = child.start()
        fetching._thread.join()
        child.stop.set()
        thread.join()
        with pytest.raises(SurroundingsError, match=r"00002-of.*the Hub answered 503; gave up") as caught:
            fetching.check()
        fetching.end()
        assert "MLX_PUBLISH_PATIENCE" in caught.value.remedy
        assert folder.counts[FIRST] == len(CONTENTS[FIRST])
    site.hub.faults.clear()
    before = site.hub.fetched()
    child = site.all_of_it(site.folder())
    assert site.hub.fetched() - before <= TOTAL - len(CONTENTS[FIRST])
    assert (child.wrong, len(child.proven)) == ([], SHARDS - 1)


@pytest.mark.parametrize("options", [{}, REDIRECTS])
@pytest.mark.parametrize("at", [5, 200_000])
def test_a_byte_that_flips_on_its_way_is_found_and_its_file_is_fetched_anew(site: Site, at: int) -> None:
    folder = site.folder()
    fetching = site.fetching(folder)
    path = list(CONTENTS)[1]
    pattern = path if not site.hub.bytes_log else site.files.entries[path].sha256 or ""
    site.hub.faults.append(Fault("GET", pattern, 1, "flip", after_bytes=at))
    child = Child(folder, CONTENTS)
    thread = child.start()
    fetching.start()
    fetching._thread.join()
    child.stop.set()
    thread.join()
    with pytest.raises(SurroundingsError, match=f"{path} was downloaded, but its bytes differ from the Hub's"):
        fetching.check()
    assert path not in child.proven
    assert not folder.shard(path).exists()
    child = site.all_of_it(site.folder())
    assert (child.wrong, child.proven[0]) == ([], path)


def test_what_lies_there_is_digested_again_and_not_fetched_again(site: Site) -> None:
    folder = site.folder()
    fetching = site.fetching(folder)
    site.hub.faults.append(Fault("GET", FIRST, 100, "slow", after_bytes=20_000))
    fetching.start()
    while folder.counts[FIRST] < MB:
        time.sleep(0.005)
    fetching.end()
    site.hub.faults.clear()
    there, before = folder.counts[FIRST], site.hub.fetched()
    assert before <= there + ranges.AT_ONCE * PARTS + SHARDS * 100_001
    child = site.all_of_it(site.folder())
    assert (child.wrong, child.proven) == ([], list(CONTENTS))
    assert site.hub.fetched() <= before + TOTAL - there


def test_a_byte_that_changed_on_the_disk_meanwhile_is_found(site: Site) -> None:
    folder = site.folder()
    fetching = site.fetching(folder)
    fetching.start()
    while folder.counts[FIRST] < len(CONTENTS[FIRST]):
        time.sleep(0.005)
    fetching.end()
    with folder.shard(FIRST).open("r+b") as file:
        file.seek(500_000)
        file.write(bytes([CONTENTS[FIRST][500_000] ^ 4]))
    fetching = site.fetching(site.folder())
    fetching.start()
    fetching._thread.join()
    with pytest.raises(SurroundingsError, match="its bytes differ"):
        fetching.check()


def test_a_file_in_the_cache_is_a_link_that_is_digested_and_left_alone(site: Site) -> None:
    blobs = site.place / "home/huggingface/hub/models--lab--Large/blobs"
    blobs.mkdir(parents=True)
    path, entries = list(CONTENTS)[2], site.files.entries
    blob = blobs / str(entries[path].sha256)
    blob.write_bytes(CONTENTS[path])
    assert cached(REPO, site.files.commit, entries[path]) == blob
    assert cached(REPO, site.files.commit, entries[FIRST]) is None
    child = site.all_of_it(site.folder(), {path: blob})
    assert (child.wrong, child.proven) == ([], list(CONTENTS))
    assert site.hub.fetched() == TOTAL - len(CONTENTS[path])
    assert blob.read_bytes() == CONTENTS[path]
    blob.write_bytes(CONTENTS[path][:-1] + b"\0")
    other = StreamFolder(site.place / "other")
    other.open("x", "k")
    with pytest.raises(SurroundingsError, match="in the Hub's cache differs from the Hub's digest"):
        site.all_of_it(other, {path: blob})
    assert len(blob.read_bytes()) == len(CONTENTS[path])


def test_of_another_conversion_what_was_let_go_is_fetched_again(site: Site) -> None:
    site.all_of_it(site.folder())
    again = StreamFolder(site.place / "stream")
    assert again.open(f"{REPO}@{site.files.commit}", "k")
    assert again.finished == set(CONTENTS)
    assert not again.open(f"{REPO}@{site.files.commit}", "another key")
    assert (again.finished, again.journal.exists()) == (set(), False)
    child = Child(again, CONTENTS, key="another key")
    fetching = site.fetching(again)
    thread = child.start()
    fetching.start()
    thread.join()
    fetching.end()
    assert (child.wrong, child.proven) == ([], list(CONTENTS))
    assert not again.open("another/source@1", "k")
    assert not (again.path / "shards").exists()


def test_a_line_that_was_cut_short_is_none(site: Site) -> None:
    folder = site.folder()
    site.fetching(folder)
    with folder.arrived.open("a") as file:
        file.write(f"123\t{FIRST}")
    counts = dict(folder.counts)
    again = site.folder()
    assert again.counts == counts
    assert all(line.endswith("\n") for line in again.arrived.read_text().splitlines(keepends=True))


def test_what_is_on_its_way_is_ended_at_once(site: Site) -> None:
    fetching = site.fetching(folder := site.folder())
    site.hub.faults.append(Fault("GET", "safetensors", 100, "slow", after_bytes=500))
    fetching.start()
    while not any(thread.name == "range" for thread in threading.enumerate()):
        time.sleep(0.005)
    start = time.monotonic()
    fetching.end()
    assert time.monotonic() - start < 1
    assert fetching.error is None
    assert not folder.finished


def test_after_a_refusal_only_what_was_begun_is_proven(site: Site) -> None:
    fetching = site.fetching(folder := site.folder())
    fetching.start()
    while folder.counts[FIRST] < MB:
        time.sleep(0.001)
    fetching.prove_begun()
    fetching.check()
    assert len(fetching.unproven()) == SHARDS - 1
    assert on_disk(folder.path / "shards") < LARGEST


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a\nb", "a\tb"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match="is no name of a weight file"):
        StreamFolder(tmp_path).shard(name)


def test_another_part_than_was_asked_for_is_not_taken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(_: object, whole: Slice, headers: dict[str, str]) -> Answer:
        stated = {**headers, "Content-Range": f"bytes 7-99/{whole.length}"}
        return Answer(206, stated, Slice(whole.path, 7, 93))

    monkeypatch.setattr(hub_read, "_ranged", shifted)
    with pytest.raises(SurroundingsError, match=f"{FIRST} came as the bytes bytes 7-99"):
        site.files.front(FIRST)


def test_a_proxy_that_packs_whole_files_is_unpacked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def packed(_: object, whole: Slice, headers: dict[str, str]) -> Answer:
        return Answer(200, {**headers, "Content-Encoding": "gzip"}, gzip.compress(whole.path.read_bytes(), 1))

    monkeypatch.setattr(hub_read, "_ranged", packed)
    child = site.all_of_it(site.folder())
    assert (child.wrong, child.proven) == ([], list(CONTENTS))


def test_the_page_of_a_proxy_is_told_at_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_read, "_ranged", lambda *_: Answer(200, {}, b"<html>Log in</html>"))
    with pytest.raises(SurroundingsError, match=f"{FIRST} came as a file of 19 bytes, not {len(CONTENTS[FIRST])}"):
        site.files.front(FIRST)


def test_a_full_disk_names_the_file(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = site.folder()
    fetching = site.fetching(folder)
    monkeypatch.setattr(os, "pwrite", full)
    fetching.start()
    fetching._thread.join(20)
    with pytest.raises(OSError, match="No space left") as raised:
        fetching.check()
    assert raised.value.filename == str(folder.shard(FIRST))


def test_a_token_that_may_not_read_any_more_ends_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fetching = site.fetching(site.folder())
    monkeypatch.setenv("HF_TOKEN", site.hub.token("stranger"))
    fetching.start()
    fetching._thread.join(20)
    with pytest.raises(BadInput, match="is gated, and this token may not read it"):
        fetching.check()


def test_a_stopped_download_says_so(site: Site) -> None:
    remote = Remote(REPO, site.files.commit)
    remote.stop.set()
    with pytest.raises(Interrupted):
        list(remote.rest(FIRST, 0, len(CONTENTS[FIRST])))


def test_progress_names_what_is_tried_again(site: Site) -> None:
    told: list[str | Step] = []
    site.hub.faults.append(Fault("GET", "safetensors", 1, status=502))
    remote = Remote(REPO, site.files.commit, told.append)
    data = b"".join(remote.rest(FIRST, 0, len(CONTENTS[FIRST])))
    assert hashlib.sha256(data).hexdigest() == site.files.entries[FIRST].sha256
    [step] = told
    assert isinstance(step, Step)
    assert (step.stays, str(step)) == (True, f"{REPO}/{FIRST}: the Hub answered 502; trying again in 0 s")
