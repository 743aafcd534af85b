"""Questions to GitHub's REST API, asked through gh, which holds the token."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_publish.children.process import Said
from mlx_publish.errors import BadInput, SurroundingsError
from mlx_publish.github.programs import gh_outcome
from mlx_publish.text import bounds
from mlx_publish.text.json_text import parse

REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")
NOT_LOGGED_IN = 4
"""The exit code of gh where it has no token."""
_ADDRESS = re.compile(r"(?:https://github\.com/|git@github\.com:)(?P<repo>[^/]+/[^/]+?)(?:\.git)?/?")
_STATUS = re.compile(r"\(HTTP (\d{3})\)")
_NO_REPO = ("git remote", "not a git repository", "known GitHub host")
_RAW = ("-H", "Accept: application/vnd.github.raw+json")
_LOGIN = "Run: gh auth login (in a job, set GH_TOKEN)"


@dataclass(frozen=True)
class Unknown:
    """An answer that GitHub refused: the status, and what it said."""

    status: int
    why: str

    @property
    def of_the_plan(self) -> bool:
        """Whether the plan of the account lacks the feature."""
        return "upgrade" in self.why.lower()


@dataclass(frozen=True)
class GitHub:
    """One repo, asked from a folder."""

    root: Path
    repo: str

    def get(self, path: str) -> Any:
        """Return the JSON of an endpoint below the repo, or `Unknown` where it is missing or may not be read."""
        return self.ask(f"repos/{self.repo}{path and '/'}{path}")

    def ask(self, path: str) -> Any:
        """Return the JSON of any endpoint, likewise."""
        outcome = gh_outcome(self.root, "api", path)
        if outcome.code:
            return _unknown(outcome)
        try:
            return parse(outcome.out, bounds.ANSWER)
        except ValueError as error:
            raise SurroundingsError(f"gh did not answer with JSON: {error}", remedy="Update gh.") from error

    def file(self, path: str) -> str | Unknown:
        """Return the text of a file of the default branch, likewise."""
        outcome = gh_outcome(self.root, "api", *_RAW, f"repos/{self.repo}/contents/{path}")
        return _unknown(outcome) if outcome.code else outcome.out


def find_repo(root: Path, given: str | None) -> str:
    """Return `owner/name` of the repo that is named, else of the repo in `root`."""
    if given is not None:
        match = _ADDRESS.fullmatch(given)
        name = match["repo"] if match else given
        if not REPO.fullmatch(name):
            raise BadInput(f"'{given}' is not OWNER/NAME", place="--repo", remedy="Example: --repo your-name/models")
        return name
    outcome = gh_outcome(root, "repo", "view", "--json", "nameWithOwner", "--jq", ".nameWithOwner")
    name = outcome.out.strip()
    elsewhere = any(words in outcome.err for words in _NO_REPO) if outcome.code else not REPO.fullmatch(name)
    if elsewhere:
        raise BadInput(
            "this folder is not a checkout of a GitHub repo",
            place="--repo",
            remedy="Run it in your repo of recipes, or name the repo: mlx-publish doctor --github --repo OWNER/NAME",
        )
    if outcome.code:
        _unknown(outcome)
        raise _failed(outcome)
    return name


def _unknown(outcome: Said) -> Unknown:
    """Return what GitHub refused. `SurroundingsError` where gh is not logged in, or GitHub does not answer."""
    status = _STATUS.search(outcome.err)
    if outcome.code == NOT_LOGGED_IN or (status and status[1] == "401"):
        raise SurroundingsError("gh is not logged in to GitHub", remedy=_LOGIN)
    if status is None or status[1] not in ("403", "404"):
        raise _failed(outcome)
    return Unknown(int(status[1]), _complaint(outcome).removeprefix("gh: ").partition(" (HTTP")[0])


def _failed(outcome: Said) -> SurroundingsError:
    return SurroundingsError(
        f"gh failed: {_complaint(outcome)}", remedy="Check the network and https://githubstatus.com, then run it again."
    )


def _complaint(outcome: Said) -> str:
    lines = [line for line in outcome.err.splitlines() if line.strip()] or [f"exit code {outcome.code}"]
    return lines[0].strip()[:300]
