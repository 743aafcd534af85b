"""The source as all stages see it: resolved once a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlx_publish.evidence import folder_digest
from mlx_publish.hub.fetch import fetch
from mlx_publish.hub.repo import RepoFiles, pinned
from mlx_publish.model.files import FolderFiles, ModelFiles
from mlx_publish.model.metadata import Metadata
from mlx_publish.stages.context import Context


@dataclass(frozen=True)
class Source:
    """Files of the source, and what identifies their bytes: a commit, or a folder's digest."""

    files: ModelFiles
    identity: str

    def local(self, paths: list[str]) -> Path:
        """Return a folder that has `paths`; downloads them at the pinned commit where it is a repo."""
        if isinstance(self.files, FolderFiles):
            return self.files.folder
        assert isinstance(self.files, RepoFiles)  # noqa: S101  there is no third kind
        return fetch(self.files.repo, self.files.commit, [self.files.entries[path] for path in paths])


def source_of(context: Context) -> Source:
    """Resolve the recipe's source; the result is kept for the rest of the run."""
    if "source" not in context.cache:
        context.cache["source"] = _resolve(context)
    found: Source = context.cache["source"]
    return found


def metadata_of(context: Context) -> Metadata:
    """Return what is known of the source without its weights; kept for the rest of the run."""
    found: Metadata = context.cache.setdefault("metadata", Metadata(source_of(context).files))
    return found


def _resolve(context: Context) -> Source:
    recipe = context.recipe
    if recipe.source_folder:
        with context.console.busy("the source's digests"):
            digests = context.work.digests(recipe.source_folder)
        return Source(FolderFiles(recipe.source_folder), folder_digest(d for d in digests if not _hidden(d.path)))
    commit = (None if context.anew else _inspected(context)) or pinned(recipe.spec.source, recipe.spec.revision)
    return Source(RepoFiles(recipe.spec.source, commit), commit)


def _inspected(context: Context) -> str | None:
    """The commit that `inspect` found for this source and revision, or None where it did not, or found several.

    A branch may move between two stages; what they say of one conversion has to be said of one commit.
    """
    asked = context.recipe.digest_of("source", "revision")
    reports = (context.work.report(variant.label, "inspect") for variant in context.recipe.variants)
    found = {
        str(report.inputs.get("source"))
        for report in reports
        if report and report.verdict == "pass" and asked.items() <= dict(report.inputs.get("recipe") or {}).items()
    }
    return found.pop() if len(found) == 1 else None


def _hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))
