"""Digests of large files that are taken beside other work, unless they are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mlx_publish.children.digesting import Digest, Digesting, Large

Keep: TypeAlias = "Callable[[Mapping[Path, tuple[list[int], str]]], None]"
"""Takes digests by path, each with the mark that the file had: size, times of content and entry, inode."""
LEAST = 8 << 20
"""Bytes of a file that is worth a process of its own; a smaller one is read in less time."""


def is_large(path: str, size: int) -> bool:
    """Return whether a file's digest is taken beside other work: weights, which nothing is decided by before."""
    return path.endswith(".safetensors") and size >= LEAST


@dataclass(frozen=True)
class Beside:
    """Digests by the names of the files: those that are known, and those that a child takes."""

    known: Mapping[str, str]
    taken: Digesting
    keep: Keep

    @property
    def done(self) -> bool:
        """Return whether nobody has to wait for `result`."""
        return self.taken.done

    def result(self, tell: Callable[[int], None] = lambda _: None) -> Mapping[str, str]:
        """Return the SHA-256 of all files, and keep what was taken; `tell` takes how many bytes are read.

        Raises `Changed` if a file changed meanwhile, `SurroundingsError` if one cannot be read.
        """
        digests = self.taken.wait(tell)
        files = self.taken.files
        self.keep({files[name].path: _marked(files[name], digest) for name, digest in digests.items() if digest.ctime})
        return {**self.known, **{name: digest.sha256 for name, digest in digests.items()}}

    def end(self) -> None:
        """Take no more digests."""
        self.taken.end()


def _marked(file: Large, digest: Digest) -> tuple[list[int], str]:
    _, inode, size, changed = file.mark
    return [size, changed, digest.ctime or 0, inode], digest.sha256
