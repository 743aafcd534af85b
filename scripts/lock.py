"""The lock: requirements.lock has the SHA-256 of every file of every package, for all Pythons and systems.

constraints.txt says which versions are taken, pyproject.toml what is wanted; `nox -s lock` makes all of it anew. An
environment takes its part of the lock: what it wants, and what that needs in turn, which stands in the lock as "via".
pip and uv then install nothing else and no other bytes (--require-hashes), whatever index they ask.

bootstrap.sh starts this file by a bare Python, so reading the lock needs the standard library alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
CONSTRAINTS = ROOT / "constraints.txt"
MADE_FROM = "# Made by `nox -s lock`, which see. Of pyproject.toml and constraints.txt: "
# The lock says "via mlx" of each; who wants mlx wants one of them.
BUILDS = frozenset({"mlx-cpu", "mlx-cuda-12", "mlx-cuda-13"})
# A package is taken as it was built by its author: to build one here would run a compiler's worth of other packages.
OPTIONS = ("--require-hashes", "--only-binary", ":all:")


@dataclass(frozen=True)
class Entry:
    """One version of a package: where it is taken (a marker, or empty), its hashes, and the names of who needs it."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    needed_by: frozenset[str]

    @property
    def pin(self) -> str:
        """The name with the version, as pip reads it."""
        return f"{self.name}=={self.version}"

    def line(self, *, with_marker: bool = True) -> str:
        """Return the entry as a line of a requirements file."""
        marker = f" ; {self.marker}" if self.marker and with_marker else ""
        return " ".join([self.pin + marker, *(f"--hash={one}" for one in self.hashes)])


def entries(text: str) -> list[Entry]:
    """Read the lock."""
    blocks = re.findall(r"^[a-z0-9].*\n(?:[ ]+.*\n)*", text, flags=re.M)
    return [_entry(block) for block in blocks]


def _entry(block: str) -> Entry:
    pin, _, marker = block.partition("\n")[0].rstrip(" \\").partition(" ; ")
    name, _, version = pin.partition("==")
    needed_by = re.findall(r"# via (.*)", block)
    names = {one.split(" ")[0] for one in ", ".join(needed_by).split(", ")}
    return Entry(name, version, marker, tuple(re.findall(r"--hash=(\S+)", block)), frozenset(names))


def part(wanted: Iterable[str], locked: Iterable[Entry]) -> list[Entry]:
    """Return the entries of some packages and of all that they need. Raises KeyError for one that is not locked.

    Of MLX's builds, it is the one that is wanted by its extra: they write the same files.
    """
    wanted = list(wanted)
    others = BUILDS - {f"mlx-{extra}" for extra in _extras_of("mlx", wanted)}
    locked = [entry for entry in locked if entry.name not in others]
    names = {name_of(requirement) for requirement in wanted}
    if missing := sorted(names - {entry.name for entry in locked}):
        raise KeyError(", ".join(missing))
    while more := {entry.name for entry in locked if entry.needed_by & names} - names:
        names |= more
    return [entry for entry in locked if entry.name in names]


def _extras_of(name: str, wanted: Iterable[str]) -> set[str]:
    """Return the extras by which requirements want a package, as the names of packages spell them: cuda-13."""
    found = (re.match(rf"{name}\[([^]]*)\]", requirement) for requirement in wanted)
    extras = {extra.strip() for match in found if match for extra in match[1].split(",")}
    return {re.sub(r"(?<=[a-z])(?=\d)", "-", extra) for extra in extras}


def name_of(requirement: str) -> str:
    """Return the name of a requirement as the lock spells it."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def made_from(project: dict[str, Any], constraints: str) -> str:
    """Return the line that says from what the lock was made, so that a lock of something else is noticed."""
    wanted = [project["project"][key] for key in ("requires-python", "dependencies", "optional-dependencies")]
    text = json.dumps([*wanted, project["dependency-groups"], constraints.split()], sort_keys=True)
    return MADE_FROM + hashlib.sha256(text.encode()).hexdigest()


def stale(project: dict[str, Any]) -> str:
    """Say why the lock is not that of pyproject.toml and constraints.txt; empty if it is. Asks no index."""
    text, constraints = LOCK.read_text(encoding="utf-8"), CONSTRAINTS.read_text(encoding="utf-8")
    locked = entries(text)
    pins = {entry.pin + (f" ; {entry.marker}" if entry.marker else "") for entry in locked}
    if different := sorted(pins ^ set(constraints.splitlines())):
        return f"requirements.lock and constraints.txt differ in {different[0]}; run: nox -s lock"
    if bare := [entry.pin for entry in locked if not entry.hashes]:
        return f"requirements.lock has no hash of {bare[0]}; run: nox -s lock"
    if made_from(project, constraints) not in text.splitlines():
        return "requirements.lock was made from another pyproject.toml or constraints.txt; run: nox -s lock"
    return ""


def main(*wanted: str) -> int:
    """Print the part of the lock for some packages, as a requirements file."""
    print(*(entry.line() for entry in part(wanted, entries(LOCK.read_text(encoding="utf-8")))), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
