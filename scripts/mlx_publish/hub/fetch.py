"""Download a pinned snapshot, and compare it with the Hub's digests."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mlx_publish.errors import SurroundingsError
from mlx_publish.evidence.digests import git_sha1_of, sha256_of
from mlx_publish.hub.client import hub_api, hub_errors
from mlx_publish.model.files import FileEntry
from mlx_publish.text.progress import Step, Tell, counted


def fetch(repo: str, commit: str, entries: Iterable[FileEntry], tell: Tell = lambda _: None) -> Path:
    """Download exactly `entries` of `repo` at `commit` into the client's cache and return the folder.

    A broken download goes on where it stopped. Raises `SurroundingsError` where the network or the disk
    fails, or where a file differs from the Hub's digest (it is removed, so that the next run loads it anew).
    """
    wanted = {entry.path: entry for entry in entries}
    with hub_errors(f"{repo}@{commit[:12]}"):
        api = hub_api()
        bars = _counting(Step(f"downloading {repo}", 0, _missing(repo, commit, wanted)), tell)
        loaded = api.snapshot_download(repo, revision=commit, allow_patterns=sorted(wanted), tqdm_class=bars)
        folder = Path(loaded)
    step = Step(f"digests of {repo}", 0, sum(entry.size for entry in wanted.values()))
    for entry in counted(wanted.values(), lambda entry: entry.size, tell, step):
        _verify(folder / entry.path, entry, repo)
    return folder


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


def _verify(path: Path, entry: FileEntry, repo: str) -> None:
    if not path.is_file():
        raise SurroundingsError(f"{repo}/{entry.path} did not arrive", remedy="Run the same command again.")
    right = (
        sha256_of(path) == entry.sha256 if entry.sha256 else not entry.git_sha1 or git_sha1_of(path) == entry.git_sha1
    )
    if not right:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise SurroundingsError(
            f"{repo}/{entry.path} arrived with other bytes than the Hub has",
            remedy="The file was removed from the cache; run the same command again.",
        )
