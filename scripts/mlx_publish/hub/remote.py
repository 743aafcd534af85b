"""The main branch of a repo as it is now, and whether this project made it: reading calls only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlx_publish.errors import Refused
from mlx_publish.hub.client import hub_api, hub_errors
from mlx_publish.hub.repo import OF_THE_HUB, RepoFiles
from mlx_publish.model.files import FileEntry
from mlx_publish.text.bounds import EVIDENCE
from mlx_publish.text.json_text import parse

if TYPE_CHECKING:
    from mlx_publish.evidence.evidence import SourceSpec

OURS = "destination-ours"
"""The check under which a repo of somebody else stands in the report."""
_EVIDENCE = "mlx-publish.json"


@dataclass(frozen=True)
class Remote:
    """The main branch of a repo as it was when it was read."""

    files: Mapping[str, FileEntry]
    head: str
    private: bool


def find_remote(repo: str) -> Remote | None:
    """Return the main branch of a repo at its head; None where this token can see no such repo."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError  # noqa: PLC0415

    with hub_errors(repo):
        try:
            info = hub_api().model_info(repo)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            return None
    return Remote(RepoFiles(repo, info.sha).entries if info.sha else {}, info.sha or "", bool(info.private))


def is_ours(repo: str, remote: Remote, source: SourceSpec) -> bool:
    """Return whether the repo is empty, or was made by us from this source."""
    return not set(remote.files) - OF_THE_HUB or source.is_of(evidence_at(repo, remote.head, remote.files))


def evidence_at(repo: str, commit: str, files: Mapping[str, FileEntry] | None = None) -> object:
    """Return the evidence that a repo holds at a commit, as plain JSON; None if it holds none."""
    read = RepoFiles(repo, commit)
    if _EVIDENCE not in (read.entries if files is None else files):
        return None
    try:
        return parse(read.read(_EVIDENCE), EVIDENCE)
    except ValueError:
        return None


def not_ours(repo: str) -> Refused:
    """Return the error for a repo that somebody else filled, or that was made from another source."""
    return Refused(
        f"{repo} exists, but was not published from this source",
        check=OURS,
        remedy="Choose another destination, or add 'adopt: true' to the recipe to replace its files.",
    )


def tags_of(repo: str) -> Mapping[str, str]:
    """Return the commits of a repo's tags."""
    with hub_errors(repo):
        return {tag.name: tag.target_commit for tag in hub_api().list_repo_refs(repo).tags}


def tag_taken(repo: str, tag: str, commit: str, differs: str) -> Refused:
    """Return the error for a tag that stands for other files; `differs` names how."""
    return Refused(
        f"the tag {tag} of {repo} is at another commit ({commit[:12]}), with differences in {differs}",
        check="tag-free",
        remedy="Choose another tag: a published tag must not move.",
    )
