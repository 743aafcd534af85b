"""What a model folder may hold, and what exactly is sent."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.evidence import FileDigest, git_sha1_of, sha256_of
from mlx_publish.model.select import PROCESSOR, is_legal, is_tokenizer

_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
_OTHERS = frozenset({
    "README.md", "mlx-publish.json", "ladder.svg", "config.json", "generation_config.json",
    "model.safetensors.index.json",
}) | PROCESSOR  # fmt: skip


@dataclass(frozen=True)
class Sent:
    """One file of the manifest, with the digests by which a Hub knows it."""

    path: str
    local: Path
    size: int
    sha256: str
    git_sha1: str


def may_be_sent(path: str) -> bool:
    """Tell whether a published model may hold a file of this name: an allow-list, not a deny-list."""
    return bool(_WEIGHTS.fullmatch(path)) or path in _OTHERS or is_tokenizer(path) or is_legal(path)


def strangers(folder: Path) -> list[str]:
    """Paths in the folder that are not on the allow-list, are hidden, or are links."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or (path.is_file() and not may_be_sent(path.relative_to(folder).as_posix()))
    )


def manifest(folder: Path) -> tuple[Sent, ...]:
    """Every file of a folder of a model, digested anew."""
    return tuple(
        Sent(path.relative_to(folder).as_posix(), path, path.stat().st_size, sha256_of(path), git_sha1_of(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )


def digests(files: Iterable[Sent]) -> tuple[FileDigest, ...]:
    """The manifest in the form that evidence uses."""
    return tuple(FileDigest(file.path, file.size, file.sha256) for file in files)
