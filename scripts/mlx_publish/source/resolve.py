"""The source as all stages see it: resolved once a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlx_publish.checks.folder import is_refused_unread
from mlx_publish.context import Context
from mlx_publish.converters import CONVERTERS, Converter, converter_for
from mlx_publish.errors import Refused
from mlx_publish.evidence.digests import FileDigest, folder_digest, sha256_of_open
from mlx_publish.hub.fetch import fetch
from mlx_publish.hub.repo import RepoFiles, pinned
from mlx_publish.model.files import FolderFiles, ModelFiles
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.names import shown
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.text.progress import Tell

WEIGHTS = ".safetensors"
LONG = 1 << 12  # no name of a file is longer


@dataclass(frozen=True)
class Source:
    """Files of the source, and what identifies their bytes: a commit, or a folder's digest."""

    files: ModelFiles
    identify: Callable[[], str]
    tell: Tell = lambda _: None
    """Takes how far a download has come."""

    @cached_property
    def identity(self) -> str:
        """The commit, or the digest of a folder, taken at the first call.

        It is empty for a folder that a look at names, sizes and headers refuses already: nothing of it is digested.
        """
        return self.identify()

    def lay_out(self, paths: Iterable[str], folder: Path) -> Path:
        """Make `folder` with `paths` of the source and nothing else, downloaded where it is a repo.

        Whatever reads the source reads this: weights are links to where they lie, all else is copied.
        """
        folder.mkdir()
        if isinstance(self.files, RepoFiles):
            entries = [self.files.entries[path] for path in paths]
            fetched = fetch(self.files.repo, self.files.commit, entries, self.tell)
        for path in paths:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(self.files, RepoFiles):
                place(target, (fetched / path).resolve(), link=path.endswith(WEIGHTS))
            else:
                _take(self.files, path, target)
        return folder

    def unchanged(self, paths: Iterable[str]) -> None:
        """Raise `Refused` where a file of a folder is not the one any more that was looked at."""
        if isinstance(self.files, FolderFiles):
            self.files.unchanged(paths)


def _take(files: ModelFiles, path: str, target: Path) -> None:
    assert isinstance(files, FolderFiles)  # noqa: S101  there is no third kind
    if path not in files.entries:
        raise Refused("is not there any more", place=shown(path), remedy="Run inspect with --force.")
    if path.endswith(WEIGHTS):
        files.unchanged([path])
        target.symlink_to(files.look.places[path].real)
    else:
        files.copy(path, target)


def place(target: Path, source: Path, *, link: bool) -> None:
    """Put a file at `target`, as a link or as a copy; make the folders above it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        target.symlink_to(source.resolve())
    else:
        shutil.copyfile(source, target)


def source_of(context: Context) -> Source:
    """Return the recipe's source, resolved once a run."""
    return context.once("source", lambda: _shown(context, _resolve(context)))


def _shown(context: Context, source: Source) -> Source:
    """Print the commit that a branch or tag stands for: before anything is refused, so that it can be copied."""
    recipe = context.recipe
    if recipe.source_folder is None and not is_commit(recipe.spec.revision):
        context.console.say(commit_words(recipe, source.identity))
    return source


def metadata_of(context: Context) -> Metadata:
    """Return what the source tells without its weights, read once a run."""
    return context.once("metadata", lambda: Metadata(source_of(context).files))


def converter(context: Context) -> Converter:
    """Return the converter of the source, by its model type; the children of the run do their jobs by it."""
    try:
        chosen = context.once("converter", lambda: converter_for(lambda: metadata_of(context).config.model_type))
    except Refused:  # its config cannot be read, which a check says
        return CONVERTERS[0]
    context.children.converter = chosen.module
    return chosen


def _resolve(context: Context) -> Source:
    recipe = context.recipe
    if recipe.source_folder:
        files = FolderFiles(recipe.source_folder)
        return Source(files, lambda: _folder_identity(context, files))
    commit = (None if context.anew else _inspected(context)) or pinned(recipe.spec.source, recipe.spec.revision)
    return Source(RepoFiles(recipe.spec.source, commit), lambda: commit, context.console.progress)


def commit_words(recipe: Recipe, commit: str) -> str:
    """Return which commit a branch or tag stands for, and the command that pins the recipe to it."""
    named = recipe.spec.revision or "the default branch"
    how = f"mlx-publish pin {recipe.place}" if recipe.place else f"add --revision {commit}"
    return f"{named} of {recipe.spec.source} is commit {commit}\nto pin it: {how}"


def _folder_identity(context: Context, files: FolderFiles) -> str:
    """Return one digest over the files that conversion takes, and over names and sizes of all others."""
    metadata = metadata_of(context)
    if is_refused_unread(metadata, context.recipe.accepted):
        return ""

    needed = {path: place.real for path, place in files.look.places.items() if path in metadata.needed}
    digested = context.console.of_bytes("digests of the source", sum(files.entries[path].size for path in needed))

    def read(path: str) -> str:
        with files.look.open(path) as file:
            return sha256_of_open(file, digested)

    with context.console.busy("source"):
        digests = context.work.digests_of(needed, read)
    others = (entry for path, entry in files.entries.items() if path not in needed)
    return folder_digest((*digests, *(FileDigest(shown(other.path, LONG), other.size, "") for other in others)))


def _inspected(context: Context) -> str | None:
    """Return the commit of the last `inspect` of this source and revision; None where reports name none, or several.

    A branch may move between two stages; what they say of one conversion has to be said of one commit.
    """
    asked = context.recipe.digest_of("source", "revision")
    reports = (context.work.report(variant.label, "inspect") for variant in context.recipe.variants)
    passed = [report.inputs for report in reports if report and report.verdict == "pass"]
    commits = {
        str(inputs.get("source"))
        for inputs in passed
        if isinstance(recipe := inputs.get("recipe"), Mapping) and asked.items() <= recipe.items()
    }
    return commits.pop() if len(commits) == 1 else None
