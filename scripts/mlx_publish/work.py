"""The work folder: where each thing lies, atomic writes, one lock, digests that are not taken twice."""

from __future__ import annotations

import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mlx_publish.children.digesting import Digesting, Large
from mlx_publish.errors import SurroundingsError
from mlx_publish.evidence import stages
from mlx_publish.evidence.beside import Beside
from mlx_publish.evidence.digests import FileDigest, Read, sha256_of_all
from mlx_publish.evidence.report import SCHEMA, Report
from mlx_publish.text.files import json_text, read_json, write_atomically
from mlx_publish.text.temporary import TemporaryFolder, remove_if_left

# Half-done work of this package beside what it was to become: folders, and files of `write_atomically`.
_FOLDER_LEFT = re.compile(r"\..+\.(new|old)-\w+")
_FILE_LEFT = re.compile(r"\..+\.(json|jsonl|md|svg|txt|log|npz)\.[a-z0-9_]{8}")
_DIGESTS, _ENTRY = ".digests.json", {"mark", "sha256"}  # where digests are kept, and what of each


def mark(status: os.stat_result) -> list[int]:
    """Return what tells a file from a changed one, as it is kept beside its digest."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


@dataclass
class Work:
    """`WORK/<recipe>/`, with one folder for the source and one for each variant."""

    root: Path
    recipe: str
    _digests: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)
    _guard: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def folder(self) -> Path:
        """All of one recipe."""
        return self.root / self.recipe

    @property
    def source(self) -> Path:
        """What is true of the source, whatever the number of variants."""
        return self.folder / "source"

    @property
    def stream(self) -> Path:
        """What an unfinished conversion straight from the Hub has: `hub.stream_folder` says what lies there."""
        return self.source / "stream"

    def variant(self, label: str) -> Path:
        """Return the folder with reports, evidence and model of one variant."""
        return self.folder / label

    def model(self, label: str) -> Path:
        """Return the folder that is published."""
        return self.variant(label) / "model"

    def provenance(self, label: str) -> Path:
        """Return the folder of the in-toto statement, beside the evidence."""
        return self.variant(label) / "provenance"

    def report_path(self, label: str, stage: str) -> Path:
        """Return the path of a stage's report."""
        return self.variant(label) / f"{stage}.json"

    def report(self, label: str, stage: str) -> Report | None:
        """Return the last report of a stage; None if there is none, or one of a version that knew no chain."""
        data = read_json(self.report_path(label, stage))
        if not isinstance(data, dict) or data.get("schema") != SCHEMA or data.get("stage") != stage:
            return None
        try:
            return Report.from_json(data)
        except (KeyError, TypeError, ValueError, AttributeError):
            return None

    def reports(self, label: str, names: Iterable[str]) -> Iterator[Report]:
        """Yield the last reports of stages, up to the first that did not pass: nothing was run behind it."""
        for stage in names:
            if report := self.report(label, stage):
                yield report
                if report.verdict != "pass":
                    return

    def passed(self, label: str, stage: str) -> bool:
        """Return whether a stage has run, and refused nothing."""
        report = self.report(label, stage)
        return report is not None and report.verdict == "pass"

    def write_report(self, label: str, report: Report) -> Report:
        """Write a report beside the others of its variant, which it names; return it as it is written."""
        before = {stage: earlier for stage in stages.before(report.stage) if (earlier := self.report(label, stage))}
        written = report.behind(before, self.report(label, report.stage))
        write_atomically(self.report_path(label, report.stage), json_text(written.to_json()))
        return written

    def digests(self, folder: Path) -> tuple[FileDigest, ...]:
        """Return sizes and SHA-256 of all files below `folder`; unchanged files are not read twice."""
        files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        return self.digests_of(files)

    def digests_of(self, files: Mapping[str, Path], read: Read | None = None) -> tuple[FileDigest, ...]:
        """Return sizes and SHA-256 of files by their names; `read` takes how many bytes more were read."""
        statuses = {name: path.stat() for name, path in files.items()}
        digests = {name: self.known(path, statuses[name]) for name, path in files.items()}
        unknown = [name for name, digest in digests.items() if digest is None]
        taken = dict(zip(unknown, sha256_of_all([files[name] for name in unknown], read), strict=True))
        self.remember({files[name]: (mark(statuses[name]), digest) for name, digest in taken.items()})
        return tuple(FileDigest(name, statuses[name].st_size, digests[name] or taken[name]) for name in files)

    def beside(self, files: Mapping[str, Large]) -> Beside:
        """Begin to take the digests of large files that are not known yet, by their names."""
        known = {name: digest for name, file in files.items() if (digest := self.known(file.path)) and file.is_there}
        rest = {name: file for name, file in files.items() if name not in known}
        return Beside(known, Digesting(rest), self.remember)

    def known(self, path: Path, status: os.stat_result | None = None) -> str | None:
        """Return the SHA-256 of a file that has not changed since it was taken; None if it has to be read.

        A file counts as unchanged with the same size, times and inode. The time of a file's content can be put back;
        that of its change (ctime) cannot.
        """
        with self._guard:
            entry = self._known_digests().get(str(path))
        try:
            return str(entry["sha256"]) if entry and entry["mark"] == mark(status or path.stat()) else None
        except FileNotFoundError:
            return None

    def remember(self, digests: Mapping[Path, tuple[list[int], str]]) -> None:
        """Keep the SHA-256 of files, each with the mark that the file had when it was taken."""
        with self._guard:
            before = dict(self._known_digests())
            self._digests |= {str(path): {"mark": of, "sha256": sha256} for path, (of, sha256) in digests.items()}
            if self._digests != before:
                write_atomically(self.folder / _DIGESTS, json_text(self._digests))

    def remember_folder(self, folder: Path, files: Iterable[FileDigest]) -> None:
        """Keep the digests of files that were just put into `folder`; not of one that has another size now."""
        statuses = {file: (folder / file.path).stat() for file in files}
        self.remember(
            {
                folder / file.path: (mark(status), file.sha256)
                for file, status in statuses.items()
                if status.st_size == file.size
            }
        )

    def _known_digests(self) -> Mapping[str, Mapping[str, Any]]:
        if not self._digests:
            kept = read_json(self.folder / _DIGESTS)
            for path, entry in kept.items() if isinstance(kept, dict) else ():
                if isinstance(entry, dict) and set(entry) == _ENTRY:
                    self._digests[path] = entry
        return self._digests

    @contextmanager
    def aside(self, label: str) -> Iterator[Path]:
        """Give an empty folder beside `model/` for half-done work; it is gone afterwards, whatever happens."""
        self.variant(label).mkdir(parents=True, exist_ok=True)
        for left in self.variant(label).glob(".model.new-*"):
            remove_if_left(left)
        with TemporaryFolder(".model.new-", beside=self.variant(label)) as folder:
            yield folder

    def remove_left(self) -> None:
        """Remove what killed runs left half-done. Nobody else is at work on this recipe: the caller has its lock."""
        for folder in (self.folder, *_folders(self.folder)):
            for path in _within(folder):
                if _FOLDER_LEFT.fullmatch(path.name):
                    remove_if_left(path)
                elif _FILE_LEFT.fullmatch(path.name) and not path.is_dir():
                    path.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep the recipe's work folder to this process. `SurroundingsError` if another one has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise SurroundingsError(
                f"another mlx-publish is running in {self.folder}",
                remedy="Wait for it to finish, or use another --work folder.",
            ) from None
        try:
            yield
        finally:
            lock.release()


def _folders(folder: Path) -> Iterator[Path]:
    """Yield folders of variants, of their models and of what else they have, two levels deep."""
    for path in _within(folder):
        if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
            yield path
            yield from (
                below for below in _within(path) if below.is_dir() and not below.is_symlink() and below.name[0] != "."
            )


def _within(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def machine_lock() -> Path:
    """Return the file by which jobs of one user take turns, whatever their work folders."""
    home = os.environ.get("HOME") or tempfile.gettempdir()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path(home) / ".cache") / "mlx-publish" / "machine.lock"


@contextmanager
def machine(say: Callable[[str], None]) -> Iterator[None]:
    """Compute alone on this machine: wait, without an end, for others that do.

    Two at once would take memory from each other and disturb what is measured. Where the file cannot be made,
    a message says so, and nobody waits.
    """
    path = machine_lock()
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"another mlx-publish is computing on this machine ({path}); waiting for its stage to end")
            lock.acquire(poll_interval=0.5)
    except OSError as error:
        say(
            f"{path} cannot be locked ({error.strerror}): a job running at the same time would disturb the measurements"
        )
    try:
        yield
    finally:
        lock.release()
