"""ssh-keygen and gh: run to their end, with little of the environment."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.errors import SurroundingsError

_SECONDS = 120
_KEPT = frozenset({"PATH", "HOME", "TMPDIR", "LANG", "LC_ALL"})
_OF_GH = ("GH_", "GITHUB_TOKEN", "GITHUB_SERVER_URL", "XDG_", "SSL_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Said:
    """How a program ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def why(self) -> str:
        """The first line that it complained with."""
        lines = [line.strip() for line in f"{self.err}\n{self.out}".splitlines() if line.strip()]
        return lines[0][:200] if lines else f"it ended with {self.code}"


def ssh_keygen(*words: str | Path, text: bytes = b"") -> Said:
    """Run ssh-keygen with `text` as its standard input. `SurroundingsError` where there is none."""
    return _ask("ssh-keygen", words, (), text)


def gh(*words: str | Path) -> Said:
    """Run gh, which holds a token for GitHub or is given one. `SurroundingsError` where there is none."""
    return _ask("gh", words, _OF_GH)


def _ask(name: str, words: Sequence[str | Path], more: tuple[str, ...], text: bytes = b"") -> Said:
    where = shutil.which(name)
    if where is None or not Path(where).is_absolute():
        raise SurroundingsError(f"there is no {name} on the PATH", remedy=f"Install {name}, then run it again.")
    kept = {key: value for key, value in os.environ.items() if key in _KEPT or (more and key.startswith(more))}
    try:
        done = subprocess.run(
            [where, *map(str, words)], input=text, capture_output=True, env=kept, cwd="/", timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise SurroundingsError(f"{name} took more than {_SECONDS} s", remedy="Run it again.") from None
    return Said(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))
