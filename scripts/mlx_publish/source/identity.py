"""The digest that identifies a source folder, taken while other work goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlx_publish.checks.folder import is_refused_unread
from mlx_publish.children.digesting import Changed, Large
from mlx_publish.context import Context
from mlx_publish.evidence.beside import Beside, is_large
from mlx_publish.evidence.digests import FileDigest, folder_digest, sha256_of_open
from mlx_publish.model.files import FolderFiles
from mlx_publish.model.folder import changed
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.names import shown
from mlx_publish.text.progress import Step
from mlx_publish.work import mark

_LONG = 1 << 12  # no name of a file is longer
_WHAT = "digests of the source"


@dataclass(frozen=True)
class FolderIdentity:
    """One digest over the files that a conversion takes, and over names and sizes of all others."""

    context: Context
    files: FolderFiles
    metadata: Callable[[], Metadata]

    @property
    def pending(self) -> bool:
        """Return whether `value` would wait. The first look begins to take digests."""
        return "value" not in vars(self) and self._begun is not None and not self._begun.large.done

    @cached_property
    def value(self) -> str:
        """The digest. It is empty for a folder that names, sizes or headers refuse: nothing of it is digested.

        Raises `Refused` if a file changed since the look, `SurroundingsError` if one cannot be read.
        """
        if (begun := self._begun) is None:
            return ""
        console = self.context.console
        read = sum(self.files.entries[path].size for path in begun.small)
        total = read + begun.large.taken.size

        def tell(size: int) -> None:
            console.progress(Step(_WHAT, min(read + size, total), total))

        try:
            with console.busy("source"):
                large = begun.large.result(tell)
        except Changed as error:
            raise changed(error.name) from error
        digests = {**begun.small, **large}
        entries = ((path, entry.size, digests.get(path)) for path, entry in self.files.entries.items())
        return folder_digest(
            FileDigest(path, size, digest) if digest else FileDigest(shown(path, _LONG), size, "")
            for path, size, digest in entries
        )

    @cached_property
    def _begun(self) -> _Begun | None:
        metadata = self.metadata()
        if is_refused_unread(metadata, self.context.recipe.accepted):
            return None
        places = {path: place for path, place in self.files.look.places.items() if path in metadata.needed}
        large = {path: Large(place.real, place.mark) for path, place in places.items() if is_large(path, place.size)}
        beside = self.context.work.beside(large)
        self.context.ending.callback(beside.end)
        with self.context.console.busy("source"):
            small = self._small([path for path in places if path not in large], told=not beside.taken.files)
        return _Begun(small, beside)

    def _small(self, paths: list[str], *, told: bool) -> Mapping[str, str]:
        """Return the SHA-256 of small files, which are read at once; with `told` they are all that one waits for."""
        work, new = self.context.work, dict[Path, tuple[list[int], str]]()
        digests = {path: work.known(self.files.look.places[path].real) for path in paths}
        unknown = [path for path, digest in digests.items() if digest is None]
        total = sum(self.files.entries[path].size for path in unknown)
        read = self.context.console.of_bytes(_WHAT, total) if told else None
        for path in unknown:
            with self.files.look.open(path) as file:
                of = mark(os.fstat(file.fileno()))
                digests[path] = taken = sha256_of_open(file, read)
            new[self.files.look.places[path].real] = of, taken
        work.remember(new)
        return {path: digest for path, digest in digests.items() if digest}


@dataclass(frozen=True)
class _Begun:
    """Digests of small files, and of large ones that are on their way."""

    small: Mapping[str, str]
    large: Beside
