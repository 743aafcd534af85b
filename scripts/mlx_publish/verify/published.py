"""A published model in a repo or in a folder: its files with their digests, its evidence, its card."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from mlx_publish.errors import BadInput, Refused
from mlx_publish.evidence.digests import SCHEMA
from mlx_publish.evidence.evidence import Evidence, NoObject, NotEvidence
from mlx_publish.hub.repo import OF_THE_HUB, RepoFiles, pinned
from mlx_publish.model.files import FileEntry, FolderFiles, ModelFiles
from mlx_publish.model.weights import TensorInfo
from mlx_publish.recipes.address import NotAModel, with_revision
from mlx_publish.recipes.read import FOLDER, expanded, is_folder

EVIDENCE, CARD, CHART = "mlx-publish.json", "README.md", "ladder.svg"
_PLACE = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII)


@dataclass(frozen=True)
class Published:
    """The files of one model at one commit, or in one folder."""

    name: str
    files: ModelFiles

    @property
    def repo(self) -> str:
        """The repo, as `namespace/name`; empty for a folder."""
        return self.files.repo if isinstance(self.files, RepoFiles) else ""

    @cached_property
    def entries(self) -> Mapping[str, FileEntry]:
        """All files except the Hub's own."""
        return {path: entry for path, entry in self.files.entries.items() if path not in OF_THE_HUB}

    @cached_property
    def evidence(self) -> Evidence:
        """The evidence beside the weights. `Refused` if there is none that this version can read."""
        if EVIDENCE not in self.entries:
            raise Refused(
                f"{self.name} has no {EVIDENCE}",
                check="evidence-readable",
                remedy="It was not published by mlx-publish, so it has no evidence to verify against.",
            )
        try:
            return Evidence.read(self.files.read(EVIDENCE))
        except NotEvidence as error:
            if error.message and not isinstance(error, NoObject):
                why = f"cannot be read: {error.message}"
            elif error.schema != SCHEMA:
                why = f"has the schema {error.schema!r}, but this version reads {SCHEMA!r}"
            else:
                why = f"is incomplete: {'; '.join(map(str, error.faults[:3]))}"
            raise Refused(
                f"{EVIDENCE} {why}",
                check="evidence-readable",
                remedy="Verify it with the version of mlx-publish that wrote it.",
            ) from error

    @cached_property
    def sha256(self) -> Mapping[str, str]:
        """SHA-256 of every file: the Hub's own for what is in LFS; what is small is loaded and digested.

        Of what is no file, as a link out of the folder, it is empty, which no file has.
        """
        digests = {path: entry.sha256 for path, entry in self.entries.items() if entry.sha256}
        rest = [path for path in self.entries if path not in digests]
        if isinstance(self.files, FolderFiles):
            digests |= self.files.sha256(rest)
        else:
            digests |= {path: hashlib.sha256(self.files.read(path)).hexdigest() for path in rest}
        return digests | dict.fromkeys(self._unread, "")

    @property
    def _unread(self) -> tuple[str, ...]:
        """What lies in a folder and is not looked into: who loads the model follows links, and asks for no more."""
        if not isinstance(self.files, FolderFiles):
            return ()
        look = self.files.look
        return (*(stray.path for stray in look.strays), *look.dead, *look.passed_over)

    def text(self, path: str) -> str | None:
        """Return a file as text, None if it is absent; bytes that are not UTF-8 differ from any text."""
        return self.files.read(path).decode("utf-8", "replace") if path in self.entries else None

    def tensors(self) -> tuple[TensorInfo, ...]:
        """Return the tensors of all weight files of the model, by their headers alone; a drafter is none of it."""
        paths = sorted(path for path in self.entries if path.endswith(".safetensors") and "/" not in path)
        return tuple(tensor for path in paths for tensor in self.files.header(path))


def find(place: str) -> Published:
    """Return the model of `namespace/name`, `namespace/name@TAG_OR_COMMIT`, an address of the Hub or a folder.

    Raises `BadInput` if it is none.
    """
    try:
        place = with_revision(place)
    except NotAModel as error:
        raise BadInput(str(error), place="REPO", remedy="Use namespace/name@tag of a model.") from None
    folder = expanded(place.removeprefix("folder:"))
    if place.startswith("folder:") or FOLDER.match(place) or is_folder(folder):
        if not is_folder(folder):
            raise BadInput(
                f"the folder {folder} does not exist",
                place="REPO",
                remedy="Use a published folder or namespace/name@tag.",
            )
        return Published(folder.name or str(folder), FolderFiles(folder))
    match = _PLACE.fullmatch(place)
    if match is None:
        raise BadInput(
            f"{place} is neither a folder nor a repo",
            place="REPO",
            remedy="Use namespace/name@tag, its address or a folder.",
        )
    commit = pinned(match["repo"], match["revision"])
    return Published(f"{match['repo']}@{commit[:12]}", RepoFiles(match["repo"], commit))
