"""Requests and answers of the loopback Hub, the table of its routes, and who may see and change what."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from hub_store import HubError, Repo, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

REPO = r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*)"
REV = r"(?P<rev>[^/]+)"


@dataclass(frozen=True)
class Token:
    """A token: known by its name, and the secret that the client sends."""

    name: str
    user: str
    orgs: tuple[str, ...] = ()
    role: str = "write"
    rights: tuple[str, ...] = ()
    """Of a fine-grained token, what it may in its user's namespace."""
    plans: tuple[tuple[str, bool], ...] = ()
    """Of organisations whether they have a plan, where the Hub tells; of its user it tells always."""

    @property
    def secret(self) -> str:
        """A value of the form that real tokens have."""
        return "hf_" + hashlib.sha256(self.name.encode()).hexdigest()[:34]

    def may(self, role: str, repo: str) -> bool:
        """Whether the token may read or write in the namespace of a repository."""
        return repo.partition("/")[0] in (self.user, *self.orgs) and role in ("read", self.role)


@dataclass
class Upload:
    """An LFS upload that was announced; parts map their number to file and ETag."""

    repo: Repo
    oid: str
    size: int
    parts: dict[int, tuple[Path, str]] = field(default_factory=dict)
    digest: Any = field(default_factory=hashlib.sha256)
    """Of the bytes so far, where the Hub lets them go."""
    arrived: int = 0


@dataclass
class Site:
    """What all calls share."""

    store: Store
    endpoint: str
    multipart_above: int
    part_size: int
    page_size: int
    xet: Path | None = None
    dropping: bool = False
    """Whether large files are digested and let go: of each a hole of its size is kept."""
    private_bytes: int | None = None
    """How much the private repos of a namespace may hold."""
    token_seconds: float = 3600
    """How long an exchanged token is valid."""
    renewed_before: int = 300
    """Seconds before its end at which the client renews a token; it cannot renew one of an identity that it was given."""
    slow: float = 0
    exchanges: int | None = None
    issued: dict[str, tuple[Token, float]] = field(default_factory=dict)
    """Exchanged tokens by their secret, each with the time at which it ends."""
    cdn: str = ""
    """The address of the server to which large files are redirected, if there is one."""
    ranges: bool = True
    """Whether parts of files can be asked for."""
    signature: str = "1"
    """What a redirected address must have; another one makes those before it expire."""
    uploads: dict[str, Upload] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """One request, read to its end. What is sent to the storage lies in the file `spooled`."""

    site: Site
    token: Token | None
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes = b""
    spooled: Path | None = None

    def json(self) -> Any:
        """Return the body, parsed."""
        return json.loads(self.body)

    def asked(self, name: str) -> bool:
        """Whether a switch is on in the query."""
        return self.query.get(name, [""])[0].lower() in {"1", "true"}


@dataclass(frozen=True)
class Slice:
    """A piece of a file on the disk."""

    path: Path
    start: int
    length: int


@dataclass(frozen=True)
class Answer:
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes | Slice = b""

    @property
    def length(self) -> int:
        """How many bytes the body has."""
        return self.body.length if isinstance(self.body, Slice) else len(self.body)


ROUTES: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = []


def route(method: str, pattern: str) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Serve a path with the decorated function; named groups become its arguments."""
    compiled = re.compile(pattern.replace("{repo}", REPO).replace("{rev}", REV))

    def register(handler: Callable[..., Answer]) -> Callable[..., Answer]:
        ROUTES.append((method, compiled, handler))
        return handler

    return register


def dispatch(method: str, call: Call) -> Answer:
    """Find the function for a request and let it answer."""
    for verb, pattern, handler in ROUTES:
        match = pattern.fullmatch(call.path)
        if match and verb == ("GET" if method == "HEAD" else method):
            return handler(call, **{name: unquote(text) for name, text in match.groupdict(default="").items()})
    raise HubError(404, "Sorry, we can't find the page you are looking for.")


def say(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Answer with JSON."""
    json_headers = {"Content-Type": "application/json; charset=utf-8", **(headers or {})}
    return Answer(status, json_headers, json.dumps(value).encode())


def readable(call: Call, name: str) -> Repo:
    """Return a repository that the caller may see; what it may not see does not exist for it."""
    repo = call.site.store.find(name)
    hidden = repo is not None and repo.state["private"] and not (call.token and call.token.may("read", name))
    if repo is not None and not hidden:
        return repo
    if call.token is None:
        # As the real Hub: without a token it does not tell whether there is such a repository.
        raise HubError(401, "Invalid username or password.", "RepoNotFound")
    raise HubError(404, "Repository not found", "RepoNotFound")


def signed_in(call: Call, name: str) -> Repo:
    """Return a repository that somebody who has an account may read."""
    repo = readable(call, name)
    if call.token is None:
        raise HubError(401, "Invalid username or password.")
    return repo


def writable(call: Call, name: str) -> Repo:
    """Return a repository that the caller may change."""
    repo = signed_in(call, name)
    if not (call.token and call.token.may("write", name)):
        raise HubError(403, "You don't have the required permissions to perform this action")
    return repo


def past_gate(call: Call, name: str) -> Repo:
    """Return a repository whose files the caller may read."""
    repo = readable(call, name)
    if repo.state["gated"] and not (call.token and call.token.may("read", name)):
        where = f"Access to model {name} is restricted"
        if call.token is None:
            raise HubError(401, f"{where}. You must be authenticated to access it.", "GatedRepo")
        raise HubError(403, f"{where} and you are not in the authorized list.", "GatedRepo")
    return repo
