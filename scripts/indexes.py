"""Which indexes are asked for packages: those that pip is set to ask, and uv as well unless it is set otherwise.

What comes from there is held against the lock's hashes, so an index can withhold a package but not exchange it. It is
said all the same, without the user and the password, so that a slow or strange one is found. bootstrap.sh starts this
file by the Python of a new environment.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

PYPI = "https://pypi.org/simple"
_OF_UV = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS")
_SYSTEM = ("/etc/xdg/uv/uv.toml", "/etc/uv/uv.toml")
# The later one counts: files for all commands, files for install, the environment.
_SECTIONS = ("global", "install", ":env:")


@dataclass(frozen=True)
class Indexes:
    """Addresses that are asked in turn, and folders or pages with links to packages."""

    asked: tuple[str, ...] = (PYPI,)
    links: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Name them, without what nobody is to see."""
        return ", ".join(map(shown, (*self.asked, *self.links))) or "no index"


def shown(address: str) -> str:
    """Return an address without user, password and query, and without what a terminal or runner would obey."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "?"
    bare = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else address
    return re.sub(r"[^\x21-\x7e]", "?", bare).replace("##[", "#?[").replace("::", ":?")[:200]


def of_pip(python: str) -> Indexes:
    """Return what pip is set to ask, by files and by the environment."""
    settings = _settings(python)
    main = [] if settings.get("no-index", "") in {"1", "true", "yes", "on"} else [settings.get("index-url", PYPI)]
    more = settings.get("extra-index-url", "").split() if main else []
    return Indexes((*main, *more), tuple(settings.get("find-links", "").split()))


def _settings(python: str) -> dict[str, str]:
    """Ask pip for its settings; where there is no pip, those of the environment count."""
    command = [python, "-I", "-m", "pip", "config", "list"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return read(done.stdout) if done.returncode == 0 else _of_environment()


def read(text: str) -> dict[str, str]:
    """Read what `pip config list` says, each key as it counts for `pip install`."""
    found: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in found and value[:1] in {"'", '"'}:
            found[section][key.lower()] = str(ast.literal_eval(value)).strip()
    return {key: value for section in _SECTIONS for key, value in found[section].items()}


def _of_environment() -> dict[str, str]:
    names = ("index-url", "extra-index-url", "find-links", "no-index")
    found = {name: os.environ.get("PIP_" + name.upper().replace("-", "_"), "") for name in names}
    return {name: value for name, value in found.items() if value}


@dataclass(frozen=True)
class ForUv:
    """What makes uv ask some indexes: variables, since addresses can hold passwords, and options; and their names."""

    said: str
    variables: dict[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()


def for_uv(python: str) -> ForUv:
    """Let uv ask the same indexes as pip. Where uv itself is set to something, that is left as it is."""
    set_by_user = [(name, os.environ[name]) for name in _OF_UV if os.environ.get(name)]
    if set_by_user:
        return ForUv(", ".join(f"{shown(one)} ({name})" for name, value in set_by_user for one in value.split()))
    if file := _configured():
        return ForUv(f"what {file} names")
    pip = of_pip(python)
    if pip == Indexes():
        return ForUv(str(pip))
    # uv asks UV_INDEX first, and as pip does it is to take the first that has the version, wherever it is.
    variables = {"UV_INDEX": " ".join(pip.asked[:-1]), "UV_INDEX_STRATEGY": "unsafe-best-match"}
    variables |= {"UV_DEFAULT_INDEX": pip.asked[-1]} if pip.asked else {}
    # Of uv these are separated by commas, of pip by spaces.
    variables["UV_FIND_LINKS"] = ",".join(pip.links)
    given = {name: value for name, value in variables.items() if value}
    return ForUv(str(pip), given, () if pip.asked else ("--no-index",))


def _configured() -> str:
    """Return uv's own file of settings where it names an index."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path("~/.config").expanduser())
    for file in (os.environ.get("UV_CONFIG_FILE"), f"{home}/uv/uv.toml", *_SYSTEM):
        try:
            if file and re.search(r"index|find-links", Path(file).read_text(encoding="utf-8", errors="replace")):
                return shown(file)
        except OSError:
            continue
    return ""


if __name__ == "__main__":
    print(of_pip(sys.executable))
