"""Which kit runs, down to its commit: what workflows and hooks of other repos are pinned to."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from mlx_publish.errors import SurroundingsError
from mlx_publish.github.programs import git_outcome
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.text import kit
from mlx_publish.text.bounds import CONFIG
from mlx_publish.text.json_text import parse

_ADDRESS = re.compile(r"(?:git\+)?(?:https?://|ssh://)?(?:[^@/]+@)?[\w.-]+[:/](?P<repo>[\w-]+/[\w.-]+?)(?:\.git)?/?")


@dataclass(frozen=True)
class RunningKit:
    """Repo and revision of the kit, where they are known from, and what to mind about them."""

    repo: str
    ref: str
    known_from: str
    warning: str = ""

    @property
    def address(self) -> str:
        """The web address of the repo."""
        return f"{kit.address().rpartition(kit.repo())[0]}{self.repo}"

    def page(self, path: str) -> str:
        """Return the web address of a file of the kit at this revision."""
        return f"{self.address}/blob/{self.ref}/{path}"

    @property
    def schema(self) -> str:
        """The JSON Schema of a recipe, for editors."""
        path = "scripts/mlx_publish/schemas/recipe.schema.json"
        if self.address.startswith(f"{kit.SERVER}/"):
            return f"https://raw.githubusercontent.com/{self.repo}/{self.ref}/{path}"
        return f"{self.address}/raw/{self.ref}/{path}"


def running_kit(root: Path | None = None, direct_url: Callable[[], str | None] | None = None) -> RunningKit:
    """Return the kit that runs: that of the Action, of the git checkout at `root`, or as pip installed it.

    Where none of them names a commit, it is the tag of this version, with a warning.
    """
    if is_commit(kit.ref()):
        return RunningKit(kit.repo(), kit.ref(), "MLX_PUBLISH_KIT")
    checkout = _of_checkout(root or Path(__file__).resolve().parents[3])
    found = checkout or _of_install(direct_url or _direct_url)
    if found:
        return found
    warning = (
        f"{kit.ref()} is a tag, not a commit, so whoever can move the tag can change what your jobs run. "
        "Replace it by the commit that you have read."
    )
    return RunningKit(kit.repo(), kit.ref(), "the version", warning)


def _of_checkout(root: Path) -> RunningKit | None:
    """Return repo and commit of a git checkout that is the kit's own; None for any other folder."""
    if not ((root / ".git").exists() and (root / "scripts" / "bootstrap.sh").is_file()):
        return None
    try:
        head = git_outcome(root, "rev-parse", "HEAD")
        remote = git_outcome(root, "remote", "get-url", "origin")
        pushed = git_outcome(root, "branch", "--remotes", "--contains", "HEAD")
    except SurroundingsError:
        return None
    commit = head.out.strip()
    if head.code or not is_commit(commit):
        return None
    repo = _repo_of(remote.out.strip()) if not remote.code else ""
    warning = ""
    if not repo:
        warning = f"the checkout {root} has no remote on GitHub; the workflows name {kit.repo()}"
    elif not pushed.out.strip():
        warning = f"commit {commit[:12]} is on no branch of its remote yet. Push it before the workflows run."
    return RunningKit(repo or kit.repo(), commit, f"the checkout {root}", warning)


def _of_install(direct_url: Callable[[], str | None]) -> RunningKit | None:
    """Return what pip wrote down of an installation from git (PEP 610); None where it was from elsewhere."""
    try:
        found = parse(direct_url() or "{}", CONFIG)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    vcs = found.get("vcs_info")
    commit = vcs.get("commit_id") if isinstance(vcs, dict) else None
    repo = _repo_of(str(found.get("url", "")))
    if not (isinstance(commit, str) and is_commit(commit) and repo):
        return None
    return RunningKit(repo, commit, "the installed package")


def _direct_url() -> str | None:
    try:
        return metadata.distribution(kit.NAME).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return None


def _repo_of(address: str) -> str:
    """Return `owner/name` of a remote's address; empty for a folder and for what is no address."""
    match = None if address.startswith(("/", ".", "file:")) else _ADDRESS.fullmatch(address)
    return match["repo"] if match else ""
