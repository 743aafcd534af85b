"""One branch and one pull request a recipe, through git and GitHub's own `gh`, which holds the token."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mlx_publish.errors import SurroundingsError
from mlx_publish.github import output

# The name under which GitHub's own actions commit.
_WHO = ("-c", "user.name=github-actions[bot]", "-c", "user.email=41898282+github-actions[bot]@users.noreply.github.com")


def propose(recipe: str, paths: Sequence[PurePosixPath], text: str, base: str, root: Path) -> str | None:
    """Commit the folders `paths` of the work tree `root` to a branch, and open or update its pull request.

    The branch is `mlx-publish/<recipe>`, `base` is the branch that it goes to, `text` its body. Returns its address,
    or None where nothing changed. Raises `SurroundingsError` where git or gh fail.
    """
    _git(root, "add", "--", *map(str, paths))
    if not _git(root, "status", "--porcelain", "--", *map(str, paths)).strip():
        return None
    branch, title = f"mlx-publish/{recipe}", f"Cards of {recipe}"
    _git(root, "switch", "--force-create", branch)
    _git(root, *_WHO, "commit", "--quiet", "--message", title)
    _git(root, "push", "--quiet", "--force", "origin", branch)
    address = _pull_request(root, branch, base, title, text)
    output.write({"pull-request": address, "branch": branch})
    return address


def evidence_before(root: Path, base: str, path: PurePosixPath) -> Any:
    """The evidence of a card as the branch `base` has it; None where it has none or one that cannot be read."""
    shown = subprocess.run(
        [_program("git"), "show", f"origin/{base}:{path}/evidence.json"],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        return json.loads(shown.stdout) if shown.returncode == 0 else None
    except ValueError:
        return None


def _pull_request(root: Path, branch: str, base: str, title: str, text: str) -> str:
    listed = json.loads(_gh(root, "pr", "list", "--head", branch, "--state", "open", "--json", "number,url") or "[]")
    if listed:
        _gh(root, "pr", "edit", str(listed[0]["number"]), "--title", title, "--body-file", "-", text=text)
        return str(listed[0]["url"])
    created = _gh(
        root, "pr", "create", "--head", branch, "--base", base, "--title", title, "--body-file", "-", text=text
    )
    return created.strip().splitlines()[-1] if created.strip() else ""


def _git(root: Path, *words: str) -> str:
    return _run(root, [_program("git"), *words])


def _gh(root: Path, *words: str, text: str = "") -> str:
    return _run(root, [_program("gh"), *words], text)


def _run(root: Path, command: Sequence[str], text: str = "") -> str:
    done = subprocess.run(command, cwd=root, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["nothing"]
        raise SurroundingsError(
            f"{Path(command[0]).name} {command[1]} failed: {said[0]}",
            remedy="Look at the job's permissions (contents: write, pull-requests: write), then run it again.",
        )
    return done.stdout


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SurroundingsError(
            f"there is no {name} on the PATH", remedy=f"Install {name}, or run it on a hosted runner."
        )
    return found
