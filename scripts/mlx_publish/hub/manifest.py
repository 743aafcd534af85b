"""The files that a published model may hold, and the list of those that are sent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_publish.errors import BadInput, Refused
from mlx_publish.evidence.digests import PICTURE, FileDigest, Read, git_sha1_of, listing, sha256_of_all
from mlx_publish.evidence.quantization import PLAN_FILE
from mlx_publish.hub.client import hub_api, hub_errors
from mlx_publish.model.drafters import FOLDER as DRAFTER
from mlx_publish.model.files import FileEntry
from mlx_publish.model.legal import LARGEST, text_fault
from mlx_publish.model.names import same_on_a_mac, shown
from mlx_publish.model.select import PROCESSOR, is_legal, is_tokenizer
from mlx_publish.model.weights import INDEX
from mlx_publish.text import bounds
from mlx_publish.text.json_text import read

if TYPE_CHECKING:
    from huggingface_hub import HfFileSystem

_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
_DRAFTER = frozenset({f"{DRAFTER}/config.json", f"{DRAFTER}/{INDEX}"})
_OTHERS = frozenset({
    "README.md", "mlx-publish.json", "mlx-publish.sig", "ladder.svg", PICTURE, "config.json",
    "generation_config.json", INDEX, PLAN_FILE,
}) | PROCESSOR  # fmt: skip
# Code and pickles give themselves away by how they begin, whatever they are called.
_FOREIGN = (
    b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04", b"\x1f\x8b", b"\x7fELF", b"MZ", b"#!",
    b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"\xfd7zX", b"7z\xbc\xaf", b"BZh", b"\x28\xb5\x2f\xfd", b"\0asm", b"!<ar",
)  # fmt: skip

_SIGNATURE = re.compile(rb"-----BEGIN SSH SIGNATURE-----\n[A-Za-z0-9+/=\n]+\n-----END SSH SIGNATURE-----\n")
_LARGEST_SIGNATURE = 64 << 10
_SLOW = 4 << 30
"""Bytes whose digests take some seconds."""


@dataclass(frozen=True)
class Sent:
    """One file of the manifest, with the digests by which a Hub knows it."""

    path: str
    local: Path
    size: int
    sha256: str

    @cached_property
    def git_sha1(self) -> str:
        """Git's digest, by which a Hub knows small files; taken when it is asked for."""
        return git_sha1_of(self.local)


@dataclass(frozen=True)
class Foreseen:
    """What a publication would do, found by reading alone."""

    new: bool
    """Whether the repo would be made."""
    adopted: bool
    """Whether it holds files of somebody else, which `adopt: true` lets go."""
    sent: tuple[Sent, ...]
    removed: tuple[str, ...]
    tagged: bool
    """Whether the tag is there already, for these files."""


def is_same(file: Sent, entry: FileEntry | None) -> bool:
    """Return whether a Hub has a file of the manifest, by size and by the digest that it keeps."""
    return (
        entry is not None
        and entry.size == file.size
        and (entry.sha256 == file.sha256 if entry.sha256 else entry.git_sha1 == file.git_sha1)
    )


def may_be_sent(path: str) -> bool:
    """Return whether a published model may hold a file of this name: an allow-list, not a deny-list."""
    weights = _WEIGHTS.fullmatch(path.removeprefix(f"{DRAFTER}/"))
    return bool(weights) or path in _OTHERS or path in _DRAFTER or is_tokenizer(path) or is_legal(path)


def strangers(folder: Path) -> list[str]:
    """Return the paths that must not be sent, each with its reason where the name does not say it.

    These are not on the allow-list, hidden, links, no files at all, code or pickles under another name, legal files
    that are no texts, weights that the index does not name, or one file with another one on a Mac.
    """
    indexed, drafted = _indexed(folder), _indexed(folder / DRAFTER)
    paths = sorted(folder.rglob("*"))
    twins = same_on_a_mac([path.relative_to(folder).as_posix() for path in paths])
    refused = [f"{shown(twin)} (on a Mac it is {shown(name)})" for name, twin in twins]
    for path in paths:
        name = path.relative_to(folder).as_posix()
        if path.is_dir() and not path.is_symlink():
            continue
        of_drafter = path.parent == folder / DRAFTER
        if (reason := _objection(path, name, drafted if of_drafter else indexed)) is not None:
            refused.append(f"{shown(name)}{reason}")
    absent = [*_absent(folder, indexed), *(f"{DRAFTER}/{name}" for name in _absent(folder / DRAFTER, drafted))]
    return refused + [f"{shown(name)} (named by the index, but missing)" for name in absent]


def _absent(folder: Path, indexed: set[str] | None) -> list[str]:
    """Return what an index names and the folder does not have."""
    return sorted((indexed or set()) - {path.name for path in folder.iterdir()}) if folder.is_dir() else []


def _objection(path: Path, name: str, indexed: set[str] | None) -> str | None:
    """Return why a file must not be sent, to follow its name, empty if the name says it; None if it may."""
    if path.is_symlink():
        return " (a link)"
    if not path.is_file() or not may_be_sent(name):
        return ""
    if name.endswith(".sig") and not is_signature(path):
        return " (not a signature written by ssh-keygen)"
    if _WEIGHTS.fullmatch(path.name) and indexed is not None and path.name not in indexed:
        return " (not named by the index)"
    if not name.endswith(".safetensors") and _piece(path, 0, 4).startswith(_FOREIGN):
        return " (a program, a pickle or an archive)"
    if name == PLAN_FILE:
        fault = plan_fault(path)
    else:  # a legal file that is too large for a text is not read whole
        fault = text_fault(_piece(path, 0, LARGEST + 1)) if is_legal(name) else ""
    return f" ({fault})" if fault else None


def plan_fault(path: Path) -> str:
    """Say why a file is no plan that may be published, or return "": a plan is text of a bounded size."""
    if path.stat().st_size > bounds.PLAN_BYTES:
        return f"has more than {bounds.PLAN_BYTES:,} bytes, too many for a plan"
    if fault := text_fault(path.read_bytes(), bounds.PLAN_BYTES):
        return fault
    from mlx_publish.recipes.plan import read_plan  # noqa: PLC0415  few models have one

    try:
        read_plan(path, PLAN_FILE)
    except BadInput as error:
        return shown(f"{error.key}: {error.message}" if error.key else error.message, 200)
    return ""


def is_signature(path: Path) -> bool:
    """Return whether a file holds an SSH signature and nothing else."""
    return (
        path.is_file()
        and not path.is_symlink()
        and path.stat().st_size <= _LARGEST_SIGNATURE
        and bool(_SIGNATURE.fullmatch(path.read_bytes()))
    )


def _indexed(folder: Path) -> set[str] | None:
    """Return the weight files that the index names, or None if there is no index that can be read."""
    try:
        named = read(folder / INDEX, bounds.INDEX)["weight_map"]
        return {str(name) for name in named.values()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def manifest(folder: Path, count: Callable[[int], Read] | None = None) -> tuple[Sent, ...]:
    """Return every file of a model's folder, digested again. Links are no part of it.

    `count` is told the bytes of all files where their digests take a while, and returns what takes how many are read.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    sizes = [path.stat().st_size for path in paths]
    read = count(sum(sizes)) if count and sum(sizes) > _SLOW else None
    return tuple(
        Sent(path.relative_to(folder).as_posix(), path, size, sha256)
        for path, size, sha256 in zip(paths, sizes, sha256_of_all(paths, read), strict=True)
    )


def digests(files: Iterable[Sent]) -> tuple[FileDigest, ...]:
    """Return the manifest in the form that evidence uses."""
    return tuple(FileDigest(file.path, file.size, file.sha256) for file in files)


def listed(files: Iterable[Sent]) -> list[dict[str, str | int]]:
    """Return plain data of all files, card and evidence included."""
    return listing(digests(files))


PIECE = 64 << 10
"""Bytes of a piece."""
_ONE_LOOK = 100
"""Files that are read back before the repo is listed again."""


def read_back(repo: str, commit: str, files: Sequence[Sent]) -> int:
    """Load beginning, middle and end of each weight file, and small files whole. Return the count of bytes.

    Raises `Refused` that names a file with other bytes.
    """
    count = 0
    for first in range(0, len(files), _ONE_LOOK):
        disk = _disk()  # it lists the repo once, and keeps the token that it begins with
        for file in files[first : first + _ONE_LOOK]:
            for start, length in _pieces(file.size):
                count += length
                with hub_errors(f"{repo}/{file.path}"):
                    piece = disk.cat_file(f"{repo}@{commit}/{file.path}", start=start, end=start + length)
                if piece != _piece(file.local, start, length):
                    other = f"downloads with different bytes ({length} from {start} on)"
                    raise Refused(
                        f"{file.path} at {repo}@{commit[:12]} {other}",
                        check="remote-equal",
                        remedy="It was not tagged. Run the same command again.",
                    )
    return count


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    if size <= 3 * PIECE:
        if size:
            yield 0, size
        return
    yield from ((start, PIECE) for start in (0, (size - PIECE) // 2, size - PIECE))


def _piece(path: Path, start: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


def _disk() -> HfFileSystem:
    from huggingface_hub import HfFileSystem  # noqa: PLC0415

    api = hub_api()
    return HfFileSystem(endpoint=api.endpoint, token=api.token, skip_instance_cache=True)
