"""Download a pinned snapshot, and compare it with the Hub's digests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mlx_publish.errors import SurroundingsError
from mlx_publish.evidence.digests import git_sha1_of, sha256_of
from mlx_publish.hub.client import hub_api, hub_errors
from mlx_publish.model.files import FileEntry


def fetch(repo: str, commit: str, entries: Iterable[FileEntry]) -> Path:
    """Download exactly `entries` of `repo` at `commit` into the client's cache and return the folder.

    A broken download goes on where it stopped. Raises `SurroundingsError` where the network or the disk
    fails, or where a file differs from the Hub's digest (it is removed, so that the next run loads it anew).
    """
    wanted = {entry.path: entry for entry in entries}
    with hub_errors(f"{repo}@{commit[:12]}"):
        folder = Path(hub_api().snapshot_download(repo, revision=commit, allow_patterns=sorted(wanted)))
    for path, entry in wanted.items():
        _verify(folder / path, entry, repo)
    return folder


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
