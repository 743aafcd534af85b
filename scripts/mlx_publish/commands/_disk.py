"""What work folders and the Hub's cache hold on this disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huggingface_hub import CachedRevisionInfo, HFCacheInfo

_BLOCK = 512  # bytes, in which a system counts what a file takes


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder; links are not followed, holes of sparse files not counted."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                status = (Path(root) / name).lstat()
            except OSError:  # gone meanwhile
                continue
            total += min(status.st_size, _BLOCK * status.st_blocks)
    return total


@dataclass(frozen=True)
class HubCache:
    """The cache of huggingface_hub, where there is one."""

    folder: str
    info: HFCacheInfo | None

    @property
    def bytes(self) -> int:
        """Bytes of all that is in it, whoever loaded it."""
        return self.info.size_on_disk if self.info else 0

    def models(self, names: Iterable[str]) -> dict[str, int]:
        """Return the bytes of models by their repo, of these repos only."""
        wanted = {name.casefold() for name in names}
        repos = self.info.repos if self.info else ()
        return {
            repo.repo_id: repo.size_on_disk
            for repo in sorted(repos, key=lambda repo: repo.repo_id)
            if repo.repo_type == "model" and repo.repo_id.casefold() in wanted
        }

    def revisions(self, commits: Iterable[tuple[str, str]]) -> Iterator[tuple[str, CachedRevisionInfo]]:
        """Yield repo and revision of what is kept of these repos at these commits, and of no other."""
        wanted = {(repo.casefold(), commit) for repo, commit in commits}
        for repo in sorted(self.info.repos, key=lambda repo: repo.repo_id) if self.info else ():
            for revision in sorted(repo.revisions, key=lambda revision: revision.commit_hash):
                if repo.repo_type == "model" and (repo.repo_id.casefold(), revision.commit_hash) in wanted:
                    yield repo.repo_id, revision

    def remove(self, repo: str, revisions: Iterable[CachedRevisionInfo]) -> None:
        """Remove revisions of a repo, with the blobs that no other revision of it needs."""
        if self.info:
            # A copy of a repo may have the same commit, and huggingface_hub takes the first one it finds.
            only = frozenset(known for known in self.info.repos if known.repo_id == repo and known.repo_type == "model")
            replace(self.info, repos=only).delete_revisions(*(revision.commit_hash for revision in revisions)).execute()


def hub_cache() -> HubCache:
    """Look at the Hub's cache; nothing is asked of the Hub."""
    from huggingface_hub import constants, scan_cache_dir  # noqa: PLC0415  0.2 s
    from huggingface_hub.errors import CacheNotFound  # noqa: PLC0415

    folder = str(constants.HF_HUB_CACHE)
    try:
        return HubCache(folder, scan_cache_dir(folder))
    except (CacheNotFound, ValueError, OSError):
        return HubCache(folder, None)


def last_used(revision: CachedRevisionInfo) -> float:
    """Return when a revision was last read, in seconds since the epoch."""
    return max((file.blob_last_accessed for file in revision.files), default=revision.last_modified)
