"""ssh-keygen and gh: run to their end, with little of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlx_publish.children.environment import of_github
from mlx_publish.children.process import Said, TimedOut, ask, program
from mlx_publish.errors import SurroundingsError

_SECONDS = 120
_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL")


def complaint(outcome: Said) -> str:
    """Return the first line of a program's complaint."""
    lines = [line.strip() for line in f"{outcome.err}\n{outcome.out}".splitlines() if line.strip()]
    return lines[0][:200] if lines else f"it exited with code {outcome.code}"


def ssh_keygen(*words: str | Path, text: bytes = b"") -> Said:
    """Run ssh-keygen with `text` as its standard input. `SurroundingsError` if it is not installed."""
    return _ask("ssh-keygen", words, {key: os.environ[key] for key in _KEPT if key in os.environ}, text)


def gh(*words: str | Path) -> Said:
    """Run gh, which holds a token for GitHub or gets one. `SurroundingsError` if it is not installed."""
    return _ask("gh", words, of_github(os.environ))


def _ask(name: str, words: Sequence[str | Path], environment: Mapping[str, str], text: bytes = b"") -> Said:
    where = program(name)
    if where is None:
        raise SurroundingsError(f"{name} is not on the PATH", remedy=f"Install {name}, then run it again.")
    try:
        return ask([where, *map(str, words)], environment, Path("/"), text=text, seconds=_SECONDS)
    except TimedOut:
        raise SurroundingsError(f"{name} took more than {_SECONDS} s", remedy="Run it again.") from None
