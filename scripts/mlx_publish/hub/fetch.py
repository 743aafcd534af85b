"""Download a pinned snapshot, and compare it with the Hub's digests."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_publish.children.digesting import Changed, Large
from mlx_publish.errors import SurroundingsError
from mlx_publish.evidence.beside import Beside, is_large
from mlx_publish.evidence.digests import git_sha1_of
from mlx_publish.hub.client import hub_api, hub_errors
from mlx_publish.model.files import FileEntry
from mlx_publish.text.progress import Step, Tell, counted
from mlx_publish.work import Work


@dataclass(frozen=True)
class Fetched:
    """A downloaded snapshot. All of it is compared with the Hub's digests but the large weights, which `verify` is for.

    Nothing that was made of it may be kept before.
    """

    folder: Path
    repo: str
    weights: Mapping[str, FileEntry]
    beside: Beside
    tell: Tell

    def verify(self) -> None:
        """Wait for the digests of the weights, and compare them.

        Raises `SurroundingsError` if one differs, which is removed, or cannot be read.
        """
        what, total = f"digests of {self.repo}", self.beside.taken.size
        try:
            digests = self.beside.result(lambda read: self.tell(Step(what, read, total)))
        except Changed as error:
            raise SurroundingsError(f"{self.repo}/{error}", remedy="Run the same command again.") from error
        for path, entry in self.weights.items():
            if digests[path] != entry.sha256:
                raise _removed(self.folder / path, f"{self.repo}/{path}")

    def end(self) -> None:
        """Take no more digests."""
        self.beside.end()


def fetch(repo: str, commit: str, entries: Iterable[FileEntry], work: Work, tell: Tell = lambda _: None) -> Fetched:
    """Download exactly `entries` of `repo` at `commit` into the client's cache.

    A broken download is resumed. The digests of what `work` knows are not taken again. Raises `SurroundingsError` if
    the network or the disk fails, or where a file differs from the Hub's digest (it is removed, so that the next run
    downloads it again).
    """
    wanted = {entry.path: entry for entry in entries}
    with hub_errors(f"{repo}@{commit[:12]}"):
        api = hub_api()
        bars = _counting(Step(f"downloading {repo}", 0, _missing(repo, commit, wanted)), tell)
        loaded = api.snapshot_download(repo, revision=commit, allow_patterns=sorted(wanted), tqdm_class=bars)
        folder = Path(loaded)
    for path in wanted:
        if not (folder / path).is_file():
            raise SurroundingsError(f"{repo}/{path}: the download is incomplete", remedy="Run the same command again.")
    weights = {path: entry for path, entry in wanted.items() if entry.sha256 and is_large(path, entry.size)}
    beside = work.beside({path: Large.at((folder / path).resolve()) for path in weights})
    try:
        _verify_now(folder, repo, [entry for path, entry in wanted.items() if path not in weights], work, tell)
    except BaseException:
        beside.end()
        raise
    return Fetched(folder, repo, weights, beside, tell)


def _missing(repo: str, commit: str, wanted: Mapping[str, FileEntry]) -> int:
    """Return the bytes of the files that the client's cache does not have yet."""
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415  0.2 s

    return sum(
        entry.size
        for path, entry in wanted.items()
        if not isinstance(try_to_load_from_cache(repo, path, revision=commit), str)
    )


def _counting(step: Step, tell: Tell) -> Any:
    """Return a class in place of the client's progress bars, which draws nothing and tells how many bytes arrived."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]  # noqa: PLC0415  0.2 s

    lock, arrived = threading.Lock(), [0]

    class Counting(tqdm):
        def __init__(self, *words: Any, **options: Any) -> None:
            # The client counts files, bytes that travel, and bytes that are written; only the last are of interest.
            self.counts = options.get("unit") == "B" and not str(options.get("name")).endswith(".transfer")
            super().__init__(*words, **{**options, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            if self.counts and n:
                with lock:
                    arrived[0] += int(n)
                    tell(Step(step.what, min(arrived[0], step.total), step.total))
            return None

    return Counting


def _verify_now(folder: Path, repo: str, entries: Sequence[FileEntry], work: Work, tell: Tell) -> None:
    """Compare small files, which are read at once."""
    large = {entry.path: (folder / entry.path).resolve() for entry in entries if entry.sha256}
    sha256 = {file.path: file.sha256 for file in work.digests_of(large)}
    step = Step(f"digests of {repo}", 0, sum(entry.size for entry in entries))
    for entry in counted(entries, lambda entry: entry.size, tell, step):
        path = folder / entry.path
        if entry.sha256:
            right = sha256[entry.path] == entry.sha256
        else:
            right = not entry.git_sha1 or git_sha1_of(path) == entry.git_sha1
        if not right:
            raise _removed(path, f"{repo}/{entry.path}")


def _removed(path: Path, name: str) -> SurroundingsError:
    """Remove a wrong file from the client's cache, so that it is downloaded again, and return what to raise."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    return SurroundingsError(
        f"{name} was downloaded, but its bytes differ from the Hub's",
        remedy="The file was removed from the cache; run the same command again.",
    )
