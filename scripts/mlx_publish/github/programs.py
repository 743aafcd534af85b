"""git, and GitHub's own `gh`, which holds the token."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mlx_publish.errors import SurroundingsError

# The name under which GitHub's own actions commit.
WHO = ("-c", "user.name=github-actions[bot]", "-c", "user.email=41898282+github-actions[bot]@users.noreply.github.com")
# No checkout keeps the token: git asks gh for it, and nobody else.
CREDENTIALS = ("-c", "credential.helper=", "-c", "credential.helper=!gh auth git-credential")


def git(root: Path, *words: str) -> str:
    """Run git in a folder; returns what it printed. `SurroundingsError` where it fails."""
    return _run(root, [program("git"), *words])


def gh(root: Path, *words: str, text: str = "") -> str:
    """Run gh in a folder, with `text` as its standard input; likewise."""
    return _run(root, [program("gh"), *words], text)


def program(name: str) -> str:
    """Return where a program is. `SurroundingsError` where it is nowhere."""
    found = shutil.which(name)
    if found is None:
        raise SurroundingsError(
            f"there is no {name} on the PATH", remedy=f"Install {name}, or run it on a hosted runner."
        )
    return found


def _run(root: Path, command: Sequence[str], text: str = "") -> str:
    done = subprocess.run(command, cwd=root, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["nothing"]
        raise SurroundingsError(
            f"{Path(command[0]).name} {_asked(command)} failed: {said[0]}",
            remedy="Look at the job's permissions (contents, pull-requests or issues: write), then run it again.",
        )
    return done.stdout


def _asked(command: Sequence[str]) -> str:
    """The subcommand, behind what is configured by -c."""
    words = list(command[1:])
    while words[:1] == ["-c"]:
        words = words[2:]
    return words[0] if words else ""
