"""The disk of the loopback Hub: repositories with immutable commits, and objects by digest.

ROOT/namespace/name/repo.json          visibility, gate, branches and tags
ROOT/namespace/name/commits/ID.json    parent, message, date and the whole tree
ROOT/namespace/name/objects/DIGEST     content: git-blob sha1 for regular files, sha256 for LFS
"""

from __future__ import annotations

import codecs
import hashlib
import json
import os
import shutil
import uuid
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REGULAR_LIMIT = 10 << 20
LFS_SUFFIXES = (".safetensors", ".bin", ".gguf", ".model", ".npz", ".onnx", ".pt", ".pth", ".zip", ".gz")
GITATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)


class HubError(Exception):
    """What the Hub answers when it does not do what was asked."""

    def __init__(self, status: int, message: str, code: str | None = None, commit: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.commit = commit


@dataclass(frozen=True)
class File:
    """A file in a commit: `oid` is git's (of the LFS pointer, if it is one), `sha256` is set for LFS only."""

    size: int
    oid: str
    sha256: str | None = None

    @property
    def digest(self) -> str:
        """The name of the content among the objects, and the ETag."""
        return self.sha256 or self.oid


@dataclass(frozen=True)
class Commit:
    """A commit, with its whole tree."""

    id: str
    parent: str | None
    title: str
    message: str
    author: str
    date: str
    files: dict[str, File]


def is_lfs(path: str, size: int, sample: bytes) -> bool:
    """Whether the Hub wants a file as LFS: by its name, its size, or because it is not text."""
    if size == 0:
        return False
    return path.endswith(LFS_SUFFIXES) or size > REGULAR_LIMIT or _is_binary(sample)


def _is_binary(sample: bytes) -> bool:
    try:
        # Not final: a sample may end inside a character.
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return True
    return b"\0" in sample


def git_oid(content: bytes) -> str:
    """Git's name for a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    """The text that git holds in place of an LFS file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def sha256_of(path: Path) -> str:
    """The digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def write_aside(path: Path, content: bytes) -> None:
    """Write a file so that it is seen whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    aside.write_bytes(content)
    aside.replace(path)


class Repo:
    """One repository on the disk. Callers that change it hold the store's lock."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder

    @property
    def state(self) -> dict[str, Any]:
        """Visibility, gate, branches and tags."""
        state: dict[str, Any] = json.loads((self.folder / "repo.json").read_bytes())
        return state

    def update(self, **changes: Any) -> None:
        """Change the state as one step."""
        write_aside(self.folder / "repo.json", json.dumps(self.state | changes, indent=2).encode())

    def resolve(self, revision: str) -> Commit:
        """Return the commit of a branch, a tag or 40 hex digits."""
        state = self.state
        known = (state["tags"] | state["heads"]).get(revision, revision)
        path = self.folder / "commits" / f"{known}.json"
        if "/" in known or not path.is_file():
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        fields = json.loads(path.read_bytes())
        return Commit(**{**fields, "files": {name: File(**file) for name, file in fields["files"].items()}})

    def history(self, revision: str) -> Iterator[Commit]:
        """Yield a commit and all before it, newest first."""
        commit = self.resolve(revision)
        yield commit
        while commit.parent:
            commit = self.resolve(commit.parent)
            yield commit

    def commit(
        self, branch: str, files: Mapping[str, File], title: str, *, message: str = "", author: str = "hub"
    ) -> Commit:
        """Put a new commit with this whole tree on a branch; its id follows from tree, parent and message."""
        heads = self.state["heads"]
        parent = heads.get(branch)
        tree = {name: asdict(files[name]) for name in sorted(files)}
        known = json.dumps([tree, parent, title, message]).encode()
        oid = hashlib.sha1(known, usedforsecurity=False).hexdigest()
        # Dates count commits, so that two runs of a test write the same bytes.
        count = len(list((self.folder / "commits").glob("*.json")))
        date = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(minutes=count)
        stamp = date.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        commit = Commit(oid, parent, title, message, author, stamp, dict(files))
        self.keep_commit(commit)
        self.update(heads=heads | {branch: oid})
        return commit

    def keep_commit(self, commit: Commit) -> None:
        """Write a commit under its id."""
        write_aside(self.folder / "commits" / f"{commit.id}.json", json.dumps(asdict(commit), indent=2).encode())

    def propose(self, branch: str, title: str, author: str) -> int:
        """Open a pull request, whose branch `refs/pr/N` begins at another's head; returns its number."""
        state = self.state
        number = len(state["pulls"]) + 1
        pull = {"num": number, "title": title, "author": author, "status": "open"}
        heads = state["heads"] | {f"refs/pr/{number}": state["heads"][branch]}
        self.update(heads=heads, pulls=[*state["pulls"], pull])
        return number

    def object(self, digest: str) -> Path:
        """Where the content with this digest is or will be."""
        return self.folder / "objects" / digest

    def lfs_file(self, sha256: str) -> File:
        """Describe an LFS object that the repository holds."""
        size = self.object(sha256).stat().st_size
        return File(size, git_oid(pointer(sha256, size)), sha256)

    def keep(self, path: str, content: bytes) -> File:
        """Store the content of a file that came as bytes."""
        if is_lfs(path, len(content), content[:512]):
            sha256 = hashlib.sha256(content).hexdigest()
            write_aside(self.object(sha256), content)
            return self.lfs_file(sha256)
        return self.keep_regular(content)

    def keep_regular(self, content: bytes) -> File:
        """Store content as a file in git, whatever it is."""
        file = File(len(content), git_oid(content))
        write_aside(self.object(file.digest), content)
        return file

    def keep_path(self, path: str, source: Path) -> File:
        """Store the content of a local file, linked where that is possible."""
        with source.open("rb") as stream:
            sample = stream.read(512)
        if not is_lfs(path, source.stat().st_size, sample):
            return self.keep(path, source.read_bytes())
        sha256 = sha256_of(source)
        if not self.object(sha256).exists():
            _link(source.resolve(), self.object(sha256))
        return self.lfs_file(sha256)


def _link(source: Path, target: Path) -> None:
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        os.link(source, aside)
    except OSError:  # another disk
        shutil.copyfile(source, aside)
    aside.replace(target)


class Store:
    """All repositories below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / ".incoming"
        self.incoming.mkdir(parents=True, exist_ok=True)
        self.lock = RLock()

    def find(self, name: str) -> Repo | None:
        """Return a repository, if there is one of this name."""
        folder = self.root / name
        return Repo(name, folder) if (folder / "repo.json").is_file() else None

    def create(self, name: str, *, private: bool = False, gated: bool = False) -> Repo:
        """Make an empty repository."""
        repo = Repo(name, self.root / name)
        for part in ("commits", "objects"):
            (repo.folder / part).mkdir(parents=True, exist_ok=True)
        gate = "manual" if gated else False
        state: dict[str, Any] = {"private": private, "gated": gate, "heads": {}, "tags": {}, "pulls": []}
        write_aside(repo.folder / "repo.json", json.dumps(state, indent=2).encode())
        return repo

    def collection(self, slug: str) -> list[dict[str, str]]:
        """Items of a collection, each with its id and type."""
        path = self.root / ".collections" / f"{slug}.json"
        evidence: list[dict[str, str]] = json.loads(path.read_bytes()) if path.is_file() else []
        return evidence

    def collect(self, slug: str, item: dict[str, str]) -> None:
        """Add an item. Callers hold the lock."""
        write_aside(self.root / ".collections" / f"{slug}.json", json.dumps([*self.collection(slug), item]).encode())
