"""One branch and one pull request a recipe, through git and GitHub's own `gh`, which holds the token.

Everything happens in a temporary worktree: the checkout, its branch, its index and its files stay as they are.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mlx_publish.errors import SurroundingsError
from mlx_publish.github.programs import CREDENTIALS, WHO, gh, git, git_outcome
from mlx_publish.github.remote import REMOTE, Remote, ask_remote, remote_address, repo_root
from mlx_publish.github.runner import Runner
from mlx_publish.text.bounds import ANSWER, EVIDENCE
from mlx_publish.text.json_text import FaultyJson, parse
from mlx_publish.text.temporary import TemporaryFolder

# A repo's hooks judge its people's commits; these files are judged by ours.
_QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false")


@dataclass(frozen=True)
class Target:
    """Where a pull request goes, once git, gh, remote and base were found to be there."""

    root: Path
    """The user's checkout."""
    remote: Remote
    branch: str
    base: str
    number: str = ""
    """Number of the pull request that is open already."""
    address: str = ""

    @property
    def base_commit(self) -> str:
        """The commit of the base branch."""
        return self.remote.branches[self.base]


def find_target(folder: Path, recipe: str, base: str) -> Target:
    """Look for all that a pull request needs, before anything is changed or pushed.

    Raises `BadInput` without a git repo, a remote or the base branch, and `SurroundingsError` if git or gh are
    missing, or gh is not logged in.
    """
    root = repo_root(folder)
    remote_address(root)
    branch = branch_of(recipe)
    fields = "number,url,isCrossRepository"
    listed = _answer(gh(root, "pr", "list", "--head", branch, "--state", "open", "--json", fields))
    remote = ask_remote(root)
    entries = [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []
    # gh lists a fork's branch of the same name, too: that pull request is a stranger's, with a stranger's files.
    there = next((entry for entry in entries if not entry.get("isCrossRepository")), {})
    return Target(root, remote, branch, remote.base(base), str(there.get("number", "")), str(there.get("url", "")))


def branch_of(recipe: str) -> str:
    """Return the branch of a recipe's pull request."""
    return f"mlx-publish/{recipe}"


@contextmanager
def worktree(target: Target) -> Iterator[Path]:
    """Check the base branch out in a temporary folder, which is gone afterwards, however that ends."""
    git(target.root, *CREDENTIALS, "fetch", "--quiet", "--no-tags", REMOTE, f"refs/heads/{target.base}")
    with TemporaryFolder() as folder:
        tree = folder / "tree"
        try:
            git(target.root, *_QUIET, "worktree", "add", "--quiet", "--detach", str(tree), target.base_commit)
            yield tree
        finally:
            git_outcome(target.root, "worktree", "remove", "--force", str(tree))
            shutil.rmtree(tree, ignore_errors=True)
            git_outcome(target.root, "worktree", "prune")


def has_changes(tree: Path, paths: Sequence[PurePosixPath]) -> bool:
    """Stage files and folders of a worktree; tell whether they differ from the base branch."""
    git(tree, "add", "--force", "--", *map(str, paths))
    return bool(git(tree, "diff", "--cached", "--name-only").strip())


def propose(target: Target, tree: Path, title: str, text: str, runner: Runner) -> str:
    """Commit and push what is staged in a worktree, and open or update the pull request. Return its address.

    Raises `SurroundingsError` if git or gh fail, or where GitHub does not know the pull request afterwards.
    """
    who = WHO if runner.obeys or not git_outcome(tree, "config", "user.email").out.strip() else ()
    git(tree, *_QUIET, *who, "commit", "--quiet", "--no-verify", "--message", title)
    before = target.remote.branches.get(target.branch, "")
    if not (before and _same_files(target, tree, before)):
        ref = f"refs/heads/{target.branch}"
        # Whoever pushed there since we looked is not overwritten.
        lease = f"--force-with-lease={ref}:{before}"
        git(tree, *_QUIET, *CREDENTIALS, "push", "--quiet", lease, REMOTE, f"HEAD:{ref}")
    words = ("--title", title, "--body-file", "-")
    if target.number:
        gh(target.root, "pr", "edit", target.number, *words, text=text)
    else:
        gh(target.root, "pr", "create", "--head", target.branch, "--base", target.base, *words, text=text)
    address = _confirmed(target)
    runner.write({"pull-request": address, "branch": target.branch})
    return address


def evidence_before(root: Path, commit: str, path: PurePosixPath) -> Any:
    """Return the evidence of a card in a commit; None if that has none, or none that can be read."""
    outcome = git_outcome(root, "show", f"{commit}:{path}/evidence.json")
    try:
        return parse(outcome.out, EVIDENCE) if outcome.code == 0 else None
    except ValueError:
        return None


def _same_files(target: Target, tree: Path, commit: str) -> bool:
    """Return whether the branch has these files already, on this base."""
    fetched = git_outcome(target.root, *CREDENTIALS, "fetch", "--quiet", "--no-tags", REMOTE, commit)
    if fetched.code or git_outcome(tree, "diff", "--quiet", commit, "HEAD", "--").code:
        return False
    return git_outcome(tree, "merge-base", "--is-ancestor", target.base_commit, commit).code == 0


def _confirmed(target: Target) -> str:
    """Return the address of the pull request by GitHub's own answer."""
    shown = _answer(gh(target.root, "pr", "view", target.branch, "--json", "url,state"))
    if isinstance(shown, Mapping) and shown.get("state") == "OPEN" and shown.get("url"):
        return str(shown["url"])
    raise SurroundingsError(
        f"the branch {target.branch} was pushed, but GitHub has no open pull request for it",
        remedy=f"Open it manually: gh pr create --head {target.branch} --base {target.base}",
    )


def _answer(text: str) -> Any:
    try:
        return parse(text or "[]", ANSWER)
    except FaultyJson as error:
        raise SurroundingsError(f"gh did not answer with JSON: {error}", remedy="Update gh.") from error
