"""git, and GitHub's own `gh`, which holds the token."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mlx_publish.children.environment import of_github
from mlx_publish.children.process import Said, ask, program
from mlx_publish.errors import SurroundingsError

# The name under which GitHub's own actions commit.
WHO = ("-c", "user.name=github-actions[bot]", "-c", "user.email=41898282+github-actions[bot]@users.noreply.github.com")
# No checkout keeps the token: git asks gh for it, and nobody else.
CREDENTIALS = ("-c", "credential.helper=", "-c", "credential.helper=!gh auth git-credential")


_OF_A_REMOTE = frozenset({"clone", "fetch", "ls-remote", "pull", "push"})


def git(root: Path, *words: str) -> str:
    """Run git in a folder. Return what it printed. `SurroundingsError` if it fails."""
    return _run(root, "git", words)


def gh(root: Path, *words: str, text: str = "") -> str:
    """Run gh in a folder, with `text` as its standard input. Return what it printed, likewise."""
    return _run(root, "gh", words, text)


def gh_outcome(root: Path, *words: str) -> Said:
    """Run gh in a folder. Return its exit code and its output, whatever they are."""
    return _ask(root, "gh", words)


def git_outcome(root: Path, *words: str) -> Said:
    """Run git in a folder. Return its exit code and its output, whatever they are."""
    return _ask(root, "git", words)


def _run(root: Path, name: str, words: Sequence[str], text: str = "") -> str:
    outcome = _ask(root, name, words, text)
    if outcome.code:
        subcommand = words
        while subcommand[:1] == ("-c",):
            subcommand = subcommand[2:]
        complaint = (outcome.err or outcome.out).strip().splitlines()[-1:] or ["no message"]
        raise SurroundingsError(
            f"{name} {' '.join(subcommand[:1])} failed: {complaint[0]}", remedy=_remedy(name, subcommand[:1])
        )
    return outcome.out


def _remedy(name: str, subcommand: Sequence[str]) -> str:
    if name == "git" and not _OF_A_REMOTE.issuperset(subcommand):
        return f"Run 'git {' '.join(subcommand)}' in your checkout to see the cause, then run the command again."
    if os.environ.get("GITHUB_ACTIONS") == "true":
        return "Check the job's permissions (contents, and pull-requests or issues: write), then run it again."
    if name == "gh":
        return "Check your login with 'gh auth status', log in with 'gh auth login', then run the command again."
    return "Check the remote with 'git ls-remote origin' and your right to push there, then run the command again."


def _ask(root: Path, name: str, words: Sequence[str], text: str = "") -> Said:
    executable = program(name)
    if executable is None:
        where = {"gh": "https://cli.github.com", "git": "https://git-scm.com"}[name]
        then = " and run 'gh auth login'" if name == "gh" else ""
        raise SurroundingsError(f"{name} is not installed, or not on the PATH", remedy=f"Install it ({where}){then}.")
    return ask([executable, *words], of_github(os.environ), root, text=text.encode())
