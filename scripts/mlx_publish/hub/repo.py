"""A model in a repo of the Hub, read at one commit: metadata and headers, never whole weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mlx_publish.errors import BadInput, Refused
from mlx_publish.hub.client import hub_api, hub_errors
from mlx_publish.hub.ranges import Remote
from mlx_publish.model.files import FileEntry
from mlx_publish.model.weights import MAX_HEADER, TensorInfo, header_end, is_whole, parse_header
from mlx_publish.recipes.patterns import is_commit

FRONT = 100_001
"""Bytes of a weight file that are asked for first: nearly all headers are shorter."""
_KEPT = 64 << 20
"""Bytes of headers that are kept in memory."""
OF_THE_HUB = frozenset({".gitattributes"})
"""Written by the Hub: it lists what goes to LFS, and is no part of a model."""


def resolve(repo: str, revision: str | None) -> str:
    """Return the commit a revision points to now. `BadInput` if repo or revision do not exist."""
    name = f"{repo} at {revision}" if revision else repo
    with hub_errors(name):
        sha = hub_api().model_info(repo, revision=revision).sha
    if not sha:
        raise BadInput(f"{name} has no commits", remedy="Choose a repo that contains a model.")
    return sha


def pinned(repo: str, revision: str | None) -> str:
    """Return the commit of a revision; the Hub is not asked for a full commit."""
    return revision if revision and is_commit(revision) else resolve(repo, revision)


def exists(repo: str) -> bool:
    """Return whether this token can see a repo on the Hub."""
    with hub_errors(repo):
        return hub_api().repo_exists(repo)


@dataclass(frozen=True)
class RepoFiles:
    """Implements `ModelFiles` for `repo` at `commit`."""

    repo: str
    commit: str
    _fronts: dict[str, bytes] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def entries(self) -> Mapping[str, FileEntry]:
        """All files with their sizes and the digests that the Hub keeps."""
        from huggingface_hub import RepoFile  # noqa: PLC0415

        with hub_errors(self.repo):
            tree = list(hub_api().list_repo_tree(self.repo, recursive=True, revision=self.commit))
        return {
            item.path: FileEntry(
                item.path,
                item.size,
                sha256=item.lfs.sha256 if item.lfs else None,
                git_sha1=None if item.lfs else item.blob_id,
            )
            for item in tree
            if isinstance(item, RepoFile)
        }

    def read(self, path: str) -> bytes:
        """Return a small file through the client's cache."""
        with hub_errors(f"{self.repo}/{path}"):
            return Path(hub_api().hf_hub_download(self.repo, path, revision=self.commit)).read_bytes()

    def header(self, path: str) -> tuple[TensorInfo, ...]:
        """Return a weight file's tensors, by a range request for its header."""
        data = self.front(path)
        try:
            tensors = parse_header(data)
        except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise Refused(f"is not safetensors: {error}", place=path, remedy="Choose another source.") from error
        is_whole(path, self.entries[path].size, header_end(data), tensors)
        return tensors

    def front(self, path: str) -> bytes:
        """Return the first bytes of a weight file, asked for once: its header, and what came along with it."""
        if (known := self._fronts.get(path)) is not None:
            return known
        size, remote = self.entries[path].size, Remote(self.repo, self.commit, lasting=False)
        with hub_errors(f"{self.repo}/{path}"):
            data = remote.some(path, 0, min(FRONT, size), size)
            end = header_end(data)
            if len(data) < end <= min(size, 8 + MAX_HEADER):
                data += remote.some(path, len(data), end, size)
        # Headers are read by several threads: the values are copied at once.
        if sum(map(len, list(self._fronts.values()))) + len(data) <= _KEPT:
            self._fronts[path] = data
        return data
