"""One branch and one pull request a recipe, through git and GitHub's own `gh`, which holds the token."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from mlx_publish.github.programs import CREDENTIALS, WHO, gh, git, git_outcome
from mlx_publish.github.runner import Runner
from mlx_publish.text.bounds import ANSWER, EVIDENCE
from mlx_publish.text.json_text import parse


def propose(
    recipe: str, paths: Sequence[PurePosixPath], text: str, base: str, root: Path, runner: Runner
) -> str | None:
    """Commit the folders and files `paths` of the work tree `root` to a branch, and open or update its pull request.

    The branch is `mlx-publish/<recipe>`, `base` is the branch that it goes to, `text` its body. Return its address,
    or None where nothing changed. Raises `SurroundingsError` where git or gh fail.
    """
    git(root, "add", "--", *map(str, paths))
    if not git(root, "status", "--porcelain", "--", *map(str, paths)).strip():
        return None
    branch, title = branch_of(recipe), f"Cards of {recipe}"
    git(root, "switch", "--force-create", branch)
    git(root, *WHO, "commit", "--quiet", "--message", title)
    git(root, *CREDENTIALS, "push", "--quiet", "--force", "origin", branch)
    address = _pull_request(root, branch, base, title, text)
    runner.write({"pull-request": address, "branch": branch})
    return address


def branch_of(recipe: str) -> str:
    """Return the branch of a recipe's pull request."""
    return f"mlx-publish/{recipe}"


def evidence_before(root: Path, base: str, path: PurePosixPath) -> Any:
    """Return the evidence of a card on the branch `base`; None where that has none, or none that can be read."""
    outcome = git_outcome(root, "show", f"origin/{base}:{path}/evidence.json")
    try:
        return parse(outcome.out, EVIDENCE) if outcome.code == 0 else None
    except ValueError:
        return None


def _pull_request(root: Path, branch: str, base: str, title: str, text: str) -> str:
    """Update the open pull request of a branch, or open one. Return its address."""
    listed = parse(gh(root, "pr", "list", "--head", branch, "--state", "open", "--json", "number,url") or "[]", ANSWER)
    if listed:
        gh(root, "pr", "edit", str(listed[0]["number"]), "--title", title, "--body-file", "-", text=text)
        return str(listed[0]["url"])
    created = gh(
        root, "pr", "create", "--head", branch, "--base", base, "--title", title, "--body-file", "-", text=text
    )
    return created.strip().splitlines()[-1] if created.strip() else ""
