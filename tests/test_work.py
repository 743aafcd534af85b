"""The work folder: nothing half-done, one at a time, nothing read twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mlx_publish import work as work_module
from mlx_publish.errors import SurroundingsError
from mlx_publish.evidence.digests import sha256_of
from mlx_publish.evidence.report import Finding, Report
from mlx_publish.text.files import read_json, replace_folder, write_atomically
from mlx_publish.work import Work

HOLD = """
import sys
from collections.abc import Sequence
from dataclasses import replace
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path, "tiny")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_are_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.json"
    write_atomically(path, "one\n")
    write_atomically(path, "ü\n")
    assert path.read_bytes() == "ü\n".encode()
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(path.parent) == ["report.json"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    write_atomically(path, "old")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["report.json"]


@pytest.mark.parametrize("text", [None, b"{", b"\xff", b""])
def test_json_that_is_absent_or_broken_is_none(tmp_path: Path, text: bytes | None) -> None:
    path = tmp_path / "x.json"
    if text is not None:
        path.write_bytes(text)
    assert read_json(path) is None


def test_places(work: Work, tmp_path: Path) -> None:
    assert work.folder == tmp_path / "tiny"
    assert work.source == tmp_path / "tiny/source"
    assert work.model("4bit") == tmp_path / "tiny/4bit/model"
    assert work.report_path("4bit", "smoke") == tmp_path / "tiny/4bit/smoke.json"


def test_reports_come_back_as_they_were_written(work: Work) -> None:
    report = Report("smoke", {"model": "a"}, (Finding("stops", "pass", "so"),), {"x": 1}, "pass")
    written = work.write_report("4bit", report)
    assert work.report("4bit", "smoke") == written
    assert replace(written, chain=report.chain) == report
    assert work.report("8bit", "smoke") is None


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"schema": "mlx-publish/report/0"}',
        '{"schema": "mlx-publish/report/1"}',
        "{",
        '{"schema": "mlx-publish/report/1", "stage": "x", "verdict": "pass", "inputs": {}, "result": {}, "checks": [1]}',
    ],
)
def test_what_is_no_report_of_this_schema_is_made_again(work: Work, text: str) -> None:
    write_atomically(work.report_path("4bit", "smoke"), text)
    assert work.report("4bit", "smoke") is None


def test_another_process_at_work_is_told(work: Work) -> None:
    work.folder.mkdir()
    held = subprocess.Popen(
        [sys.executable, "-c", HOLD, work.folder / ".lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with held:
        assert held.stdout is not None
        assert held.stdout.readline() == b"held\n"
        with pytest.raises(SurroundingsError, match=f"running in {work.folder}") as caught, work.lock():
            pytest.fail("the lock was given twice")
        assert caught.value.exit_code == 4
        assert "--work" in caught.value.remedy
        held.communicate()
    with work.lock():
        assert work.folder.is_dir()


def test_the_lock_is_free_again_after_an_exception(work: Work) -> None:
    with pytest.raises(ZeroDivisionError), work.lock():
        raise ZeroDivisionError
    with work.lock():
        assert work.folder.is_dir()


def test_the_folder_aside_is_empty_and_gone_afterwards(work: Work) -> None:
    with work.aside("4bit") as folder:
        assert names(folder) == []
        assert folder.parent == work.variant("4bit")
        (folder / "part").touch()
    assert names(work.variant("4bit")) == []


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_the_folder_aside_is_gone_after_an_exception(work: Work, error: type[BaseException]) -> None:
    def half() -> None:
        with work.aside("4bit") as folder:
            (folder / "part").touch()
            raise error

    with pytest.raises(error):
        half()
    assert names(work.variant("4bit")) == []


def test_what_a_killed_run_left_is_removed_and_nothing_else(work: Work) -> None:
    for left in (".model.new-killed", "model"):
        (work.variant("4bit") / left).mkdir(parents=True)
    with work.aside("4bit"):
        assert ".model.new-killed" not in names(work.variant("4bit"))
    assert names(work.variant("4bit")) == ["model"]


def test_a_folder_is_replaced_by_a_finished_one(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for content in ("first", "second"):
        new.mkdir()
        (new / content).touch()
        replace_folder(new, old)
        assert names(old) == [content]
        assert names(tmp_path) == ["old"]


def test_the_old_folder_comes_back_where_the_new_one_cannot_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / folder.name).touch()
    replace = Path.replace

    def refusing(self: Path, target: Path) -> Path:
        if self == new:
            raise OSError(18, "Invalid cross-device link")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refusing)
    with pytest.raises(OSError, match="cross-device"):
        replace_folder(new, old)
    assert names(old) == ["old"]
    assert names(tmp_path) == ["new", "old"]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are really read."""
    found: list[str] = []

    def counted(paths: Sequence[Path], _read: object) -> list[str]:
        found.extend(path.name for path in paths)
        return [sha256_of(path) for path in paths]

    monkeypatch.setattr(work_module, "sha256_of_all", counted)
    return found


def test_digests_are_taken_once_and_again_after_a_change(work: Work, tmp_path: Path, reads: list[str]) -> None:
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(b"one")
    (folder / "sub" / "b").write_bytes(b"two")
    first = work.digests(folder)
    assert [(file.path, file.size, file.sha256) for file in first] == [
        ("a", 3, sha256_of(folder / "a")),
        ("sub/b", 3, sha256_of(folder / "sub" / "b")),
    ]
    assert work.digests(folder) == first
    assert Work(tmp_path, "tiny").digests(folder) == first
    assert reads == ["a", "b"]
    (folder / "a").write_bytes(b"eno")
    os.utime(folder / "a", ns=(1, 1))
    (changed, same) = work.digests(folder)
    assert (changed.sha256, same) == (sha256_of(folder / "a"), first[1])
    assert reads == ["a", "b", "a"]


def test_a_file_put_in_the_place_of_another_is_read(work: Work, tmp_path: Path, reads: list[str]) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a").write_bytes(b"one")
    before = work.digests(folder)
    stat = (folder / "a").stat()
    (tmp_path / "other").write_bytes(b"eno")
    os.utime(tmp_path / "other", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (tmp_path / "other").replace(folder / "a")
    assert work.digests(folder) != before
    assert reads == ["a", "a"]


def test_a_file_whose_time_is_put_back_is_read(work: Work, tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "model" / "a"
    path.parent.mkdir()
    path.write_bytes(b"one")
    before, stat = work.digests(path.parent), path.stat()
    path.write_bytes(b"eno")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    assert Work(tmp_path, "tiny").digests(path.parent) != before
    assert reads == ["a", "a"]


def test_digests_that_an_older_version_kept_are_taken_again(work: Work, tmp_path: Path, reads: list[str]) -> None:
    path = tmp_path / "model" / "a"
    path.parent.mkdir()
    path.write_bytes(b"one")
    stat = path.stat()
    old = {"mark": [stat.st_size, stat.st_mtime_ns, stat.st_ino], "sha256": "0" * 64}
    write_atomically(work.folder / ".digests.json", json.dumps({str(path): old}))
    assert [file.sha256 for file in work.digests(path.parent)] == [sha256_of(path)]
    assert reads[:1] == ["a"]


@pytest.mark.parametrize("text", ["{", "[]", "[1]", "5", '{"x": 1}'])
def test_a_broken_list_of_digests_is_made_again(work: Work, tmp_path: Path, text: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "x").write_bytes(b"one")
    write_atomically(work.folder / ".digests.json", text.replace('"x"', f'"{tmp_path}/model/x"'))
    assert [file.path for file in work.digests(tmp_path / "model")] == ["x"]


def test_what_a_killed_writer_left_aside_goes_with_the_next_one(tmp_path: Path) -> None:
    for name in (".inspect.json.njb_m9jv", ".other.json.njb_m9jv", ".inspect.json.lock"):
        (tmp_path / name).write_text("half")
    write_atomically(tmp_path / "inspect.json", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"inspect.json", ".other.json.njb_m9jv", ".inspect.json.lock"}
