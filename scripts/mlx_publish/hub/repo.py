"""A model in a repo of the Hub, read at one commit: metadata and headers, never whole weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlx_publish.errors import BadInput, Refused
from mlx_publish.hub.client import hub_api, hub_errors
from mlx_publish.model.files import FileEntry
from mlx_publish.model.weights import TensorInfo, is_whole, tensors_of
from mlx_publish.recipes.patterns import is_commit

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
        from huggingface_hub.errors import SafetensorsParsingError  # noqa: PLC0415

        with hub_errors(f"{self.repo}/{path}"):
            try:
                metadata = hub_api().parse_safetensors_file_metadata(self.repo, path, revision=self.commit)
                header = {
                    name: {"dtype": info.dtype, "shape": info.shape, "data_offsets": info.data_offsets}
                    for name, info in metadata.tensors.items()
                }
                tensors = tensors_of(header)
            except SafetensorsParsingError as error:
                raise Refused("is not safetensors", place=path, remedy="Choose another source.") from error
            except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
                raise Refused(f"is not safetensors: {error}", place=path, remedy="Choose another source.") from error
        # The client does not tell how long the header was; written without blanks it is never longer.
        length = 8 + len(json.dumps(header, separators=(",", ":"), ensure_ascii=False))
        is_whole(path, self.entries[path].size, length, tensors)
        return tensors
