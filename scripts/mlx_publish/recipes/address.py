"""Addresses of the Hub as they are pasted from a browser, a card or a clone command, and the repo that they mean."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_CLONE = re.compile(r"git@(?P<host>[\w.-]+):(?P<path>.+)")
_OTHER_KINDS = {"datasets": "a dataset", "spaces": "a Space", "collections": "a collection", "papers": "a paper"}
_AT_A_REVISION = frozenset({"tree", "blob", "resolve", "raw", "commit", "commits", "blame"})
_MOVING = "main"
"""What the Hub puts into an address by itself; nobody chose it."""


class NotAModel(ValueError):
    """An address of the Hub that means no model; its text says what it is."""


@dataclass(frozen=True)
class Address:
    """A repo of the Hub, and the revision that its address names; empty where it names none."""

    repo: str
    revision: str = ""


def read_address(text: str) -> Address | None:
    """Return the repo that an address of the Hub means, None for any other text, as `namespace/name`.

    Raises `NotAModel` for an address of a dataset, a Space, a file or nothing.
    """
    text = text.strip()
    if text.startswith("hf://"):
        path = text.removeprefix("hf://").removeprefix("models/")
        repo, _, revision = path.partition("@")
        revision, _, _ = revision.partition("/")
        return _of_path(repo, text, unquote(revision))
    if clone := _CLONE.fullmatch(text):
        return _of_path(clone["path"], text) if clone["host"].casefold() in _hosts() else None
    try:
        parts = urlsplit(text if _SCHEME.match(text) else f"https://{text}")
        host = (parts.netloc if parts.port else parts.hostname or "").casefold()
    except ValueError:  # as a port that is none
        return None
    return _of_path(parts.path, text) if host in _hosts() else None


def _hosts() -> frozenset[str]:
    """Return the hosts of the Hub; a mirror is one where `HF_ENDPOINT` names it."""
    try:
        own = urlsplit(os.environ.get("HF_ENDPOINT", "")).netloc
    except ValueError:
        own = ""
    return HOSTS | {own.casefold()} if own else HOSTS


def _of_path(path: str, text: str, revision: str = "") -> Address:
    words = [unquote(word) for word in path.split("/") if word]
    if words and words[0] in _OTHER_KINDS:
        raise NotAModel(f"{_shown(text)} is the address of {_OTHER_KINDS[words[0]]}, not of a model")
    if len(words) < 2:
        raise NotAModel(f"{_shown(text)} names no model: its address ends with namespace/name")
    if len(words) > 3 and words[2] in _AT_A_REVISION:
        revision = words[3]
        if words[3] == "refs" and len(words) > 5:  # refs/pr/1, where its slashes were not escaped
            revision = "/".join(words[3:6])
    return Address(f"{words[0]}/{words[1].removesuffix('.git')}", "" if revision == _MOVING else revision)


def _shown(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"


def repo_of(text: str) -> str:
    """Return the repo that an address means, or the text as it is. Raises `NotAModel` as `read_address` does."""
    address = read_address(text)
    return address.repo if address else text


def with_revision(text: str) -> str:
    """Return `namespace/name@revision` for an address that names a revision, `namespace/name` for another one.

    A text that is no address is returned as it is. Raises `NotAModel` as `read_address` does.
    """
    address = read_address(text)
    if address is None:
        return text
    return f"{address.repo}@{address.revision}" if address.revision else address.repo
