"""Digests: what a number was measured on, and what a folder holds."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, TypeVar

T = TypeVar("T")
Read: TypeAlias = "Callable[[int], None]"
"""Takes how many bytes more were read."""
_MOST = 16  # threads; more readers make no disk faster
SCHEMA = "mlx-publish/evidence/1"
PICTURE = "picture.png"
"""The picture that the card of a model that sees shows, beside it."""
# They are made from the evidence, or sign it, so they cannot stand in it.
MADE_FROM_EVIDENCE = frozenset({"README.md", "mlx-publish.json", "mlx-publish.sig", "ladder.svg", PICTURE, "model.sig"})


@dataclass(frozen=True, order=True)
class FileDigest:
    """One file of a model folder: its path with '/', its size in bytes, its SHA-256 in hex."""

    path: str
    size: int
    sha256: str


def sha256_of(path: Path, read: Read | None = None) -> str:
    """Return the SHA-256 of a file in hex, read in pieces; `read` takes the bytes of each."""
    return _digested(path, hashlib.sha256(), read)


def sha256_of_all(paths: Iterable[Path], read: Read | None = None) -> list[str]:
    """Return the SHA-256 of several files, in their order, by as many threads as there are cores; see `sha256_of`."""
    return in_threads(lambda path: sha256_of(path, read), list(paths))


def in_threads(digest: Callable[[T], str], files: Sequence[T]) -> list[str]:
    """Return the digest of each file, by as many threads as there are cores: hashlib gives other threads way."""
    if len(files) <= 1:
        return [digest(file) for file in files]
    # Not on top: what needs no digests need not load it.
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    with ThreadPoolExecutor(min(len(files), os.cpu_count() or 1, _MOST)) as several:
        return list(several.map(digest, files))


def git_sha1_of(path: Path) -> str:
    """Return the id that git, and so the Hub, gives the content of a file that is not in LFS."""
    return _digested(path, hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False))


def sha256_of_open(file: BinaryIO, read: Read | None = None) -> str:
    """Return the SHA-256 of an open file in hex, read in pieces to its end; `read` takes the bytes of each."""
    return _digested_open(file, hashlib.sha256(), read)


def _digested(path: Path, digest: Any, read: Read | None = None) -> str:
    with path.open("rb") as file:
        return _digested_open(file, digest, read)


def _digested_open(file: BinaryIO, digest: Any, read: Read | None = None) -> str:
    while piece := file.read(1 << 20):
        digest.update(piece)
        if read:
            read(len(piece))
    return str(digest.hexdigest())


def read_back(value: Any) -> Any:
    """Return a value as it is once it was written as JSON and read: lists in place of tuples, texts as keys."""
    return json.loads(json.dumps(value))


def digest_of(data: object) -> str:
    """Return the SHA-256 over plain data, whatever the order of its keys."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def listing(files: Iterable[FileDigest]) -> list[dict[str, str | int]]:
    """Return plain data of files, sorted by path."""
    return [asdict(file) for file in sorted(files)]


def folder_digest(files: Iterable[FileDigest]) -> str:
    """Return one digest for a folder: over its sorted files, leaving out what is made from evidence."""
    return digest_of(listing(file for file in files if file.path not in MADE_FROM_EVIDENCE))
