"""What `origin` has: its default branch, its branches, the tags of a recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlx_publish.errors import BadInput
from mlx_publish.github.programs import CREDENTIALS, git, git_outcome
from mlx_publish.text.nearest import nearest

REMOTE = "origin"
_SYMBOLIC = re.compile(r"ref: refs/heads/(\S+)\tHEAD")
_REF = re.compile(r"([0-9a-f]{40,64})\trefs/(heads|tags)/(\S+)")
_LOCAL = re.compile(r"([0-9a-f]{40,64}) refs/(remotes/origin|tags)/(\S+)")
# https://host/owner/name, ssh://git@host/owner/name and git@host:owner/name, each with or without .git
_ADDRESS = re.compile(
    r"(?:https?://(?:[^@/]+@)?|ssh://(?:[^@/]+@)?|[^@/:]+@)([\w.-]+)(?::\d+)?[/:]([\w.-]+/[\w.-]+?)(?:\.git)?/?"
)
_LISTED = 10


@dataclass(frozen=True)
class Remote:
    """What a remote has, by its own answer or by what was fetched of it last."""

    default: str
    """Name of the default branch; empty if it has none."""
    branches: Mapping[str, str] = field(default_factory=dict)
    """Commit of each branch."""
    tags: tuple[str, ...] = ()

    def base(self, wanted: str) -> str:
        """Return the branch `wanted`, or without one the default branch. Raises `BadInput` if it has none such."""
        if wanted in self.branches:
            return wanted
        if not wanted and self.default in self.branches:
            return self.default
        near = nearest(wanted, self.branches)
        listed = ", ".join(sorted(self.branches)[:_LISTED]) or "none; push one first"
        raise BadInput(
            f"{REMOTE} has no branch '{wanted}'" if wanted else f"{REMOTE} has no default branch",
            place="--base",
            remedy=f"{f'Did you mean {near}? ' if near else ''}Branches of {REMOTE}: {listed}.",
        )

    def next_tag(self, recipe: str) -> str:
        """Return the next free tag of a recipe, `<recipe>/v<N>`; tags of all recipes count too."""
        of_recipe = re.compile(rf"(?:{re.escape(recipe)}|all)/v([0-9]{{1,9}})")
        taken = [int(match[1]) for tag in self.tags if (match := of_recipe.fullmatch(tag))]
        return f"{recipe}/v{max(taken, default=0) + 1}"


def repo_root(folder: Path) -> Path:
    """Return the root of the git repo that a folder is in. Raises `BadInput` if it is in none."""
    outcome = git_outcome(folder, "rev-parse", "--show-toplevel")
    if outcome.code:
        raise BadInput(
            f"{folder} is not in a git repository",
            remedy="Run the command in a clone of the repository that holds your recipes, or run: git init",
        )
    return Path(outcome.out.rstrip("\n"))


def remote_address(root: Path) -> str:
    """Return the address of `origin`. Raises `BadInput` if there is no such remote."""
    outcome = git_outcome(root, "remote", "get-url", REMOTE)
    if outcome.code:
        raise BadInput(
            f"this repository has no remote '{REMOTE}', so a pull request has nowhere to go",
            remedy=f"Run: git remote add {REMOTE} https://github.com/OWNER/NAME.git",
        )
    return outcome.out.strip()


def ask_remote(root: Path) -> Remote:
    """Ask `origin` what it has. Raises `SurroundingsError` if it does not answer."""
    listed = git(root, *CREDENTIALS, "ls-remote", "--symref", REMOTE, "HEAD", "refs/heads/*", "refs/tags/*")
    default = _SYMBOLIC.search(listed)
    refs = _REF.findall(listed)
    return Remote(
        default[1] if default else "",
        {name: commit for commit, kind, name in refs if kind == "heads"},
        tuple(name for _, kind, name in refs if kind == "tags"),
    )


def known_remote(root: Path) -> Remote:
    """Return what was fetched of `origin` last, without asking it; empty if there is nothing."""
    symbolic = git_outcome(root, "symbolic-ref", "--quiet", f"refs/remotes/{REMOTE}/HEAD").out.strip()
    listed = git_outcome(
        root, "for-each-ref", "--format=%(objectname) %(refname)", f"refs/remotes/{REMOTE}", "refs/tags"
    )
    refs = _LOCAL.findall(listed.out)
    branches = {name: commit for commit, kind, name in refs if kind != "tags" and name != "HEAD"}
    default = symbolic.removeprefix(f"refs/remotes/{REMOTE}/") or next(
        (name for name in ("main", "master") if name in branches), ""
    )
    return Remote(default, branches, tuple(name for _, kind, name in refs if kind == "tags"))


def default_base(root: Path) -> str:
    """Return what a branch is compared with if nothing else is asked for: the remote's default branch, else `main`."""
    default = known_remote(root).default
    return f"{REMOTE}/{default}" if default not in ("", "main") else "main"


def web_address(root: Path) -> str:
    """Return the web address of the repo by its remote, as `https://github.com/me/models`; empty if it has none."""
    outcome = git_outcome(root, "remote", "get-url", REMOTE)
    match = _ADDRESS.fullmatch(outcome.out.strip()) if outcome.code == 0 else None
    return f"https://{match[1]}/{match[2]}" if match else ""
