"""The files of a model, wherever they lie."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from mlx_publish.errors import Refused
from mlx_publish.evidence.digests import in_threads, sha256_of_open
from mlx_publish.model.folder import FolderLook, look_at
from mlx_publish.model.weights import TensorInfo, header_of, is_pointer, read_header_of
from mlx_publish.text.bounds import bounds_of
from mlx_publish.text.json_text import FaultyJson, RepeatedKey, parse

SMALL = 64 << 20
"""Bytes that a metadata file may have; tokenizers reach some 30 MB."""


@dataclass(frozen=True)
class FileEntry:
    """A file as the source lists it; a Hub lists `sha256` and `git_sha1`, too."""

    path: str
    size: int
    sha256: str | None = None
    git_sha1: str | None = None


class ModelFiles(Protocol):
    """What readers of a model need: the list of files, whole small ones, and headers of large ones."""

    @property
    def entries(self) -> Mapping[str, FileEntry]:
        """Return all files by path."""

    def read(self, path: str) -> bytes:
        """Return a small file, whole."""

    def header(self, path: str) -> tuple[TensorInfo, ...]:
        """Return the tensors of a safetensors file, by its header alone."""


@dataclass(frozen=True)
class FolderFiles:
    """A model in a folder, listed once; opens only plain files of the folder, links followed."""

    folder: Path

    @cached_property
    def look(self) -> FolderLook:
        """Return where each file lies, and which links lead elsewhere."""
        return look_at(self.folder)

    @cached_property
    def entries(self) -> Mapping[str, FileEntry]:
        """Return all files below the folder but hidden ones."""
        return {path: FileEntry(path, place.size) for path, place in self.look.places.items()}

    def read(self, path: str) -> bytes:
        """Return a file, whole."""
        with self.look.open(path) as file:
            return file.read(self.look.places[path].size)

    def header(self, path: str) -> tuple[TensorInfo, ...]:
        """Return the tensors of a safetensors file."""
        with self.look.open(path) as file:
            return read_header_of(file, path, self.look.places[path].size)

    def copy(self, path: str, target: Path) -> None:
        """Copy a file. Raises `Refused` if it is not the listed file any more."""
        with self.look.open(path) as file, target.open("xb") as copy:
            shutil.copyfileobj(file, copy)

    def sha256(self, paths: Sequence[str]) -> dict[str, str]:
        """Return the SHA-256 of files in hex, by path. Raises `Refused` if one is not the listed file any more."""

        def digest(path: str) -> str:
            with self.look.open(path) as file:
                return sha256_of_open(file)

        return dict(zip(paths, in_threads(digest, paths), strict=True))

    def unchanged(self, paths: Iterable[str]) -> None:
        """Raise `Refused` if one of these files is not the listed file any more."""
        for path in paths:
            self.look.open(path).close()


@dataclass(frozen=True)
class MemoryFiles:
    """A fake for tests: contents by path."""

    contents: Mapping[str, bytes]

    @property
    def entries(self) -> Mapping[str, FileEntry]:
        """Return all files."""
        return {path: FileEntry(path, len(data)) for path, data in self.contents.items()}

    def read(self, path: str) -> bytes:
        """Return a file, whole."""
        return self.contents[path]

    def header(self, path: str) -> tuple[TensorInfo, ...]:
        """Return the tensors of a safetensors file."""
        return header_of(path, self.contents[path], len(self.contents[path]))


def read_json_file(files: ModelFiles, path: str) -> dict[str, Any] | None:
    """Return a JSON object of the model, or None if the file is absent.

    Raises `Refused` naming file and line where it is not a JSON object: nothing of the model can be trusted then.
    """
    entry, bounds = files.entries.get(path), bounds_of(path)
    if entry is None:
        return None
    if entry.size > bounds.most_bytes:
        raise Refused(f"is {entry.size:,} bytes, too large for metadata", place=path)
    content = files.read(path)
    try:
        data = parse(content, bounds)
    except FaultyJson as error:
        pointer = ", because it is a git-lfs pointer instead of the file" if is_pointer(content) else ""
        remedy = f"{'Leave one of them' if isinstance(error, RepeatedKey) else 'Fix the file'} in the source."
        raise Refused(f"{error.message}{pointer}", place=error.place(path), remedy=remedy) from error
    if not isinstance(data, dict):
        raise Refused("is not a JSON object", place=path)
    return data
