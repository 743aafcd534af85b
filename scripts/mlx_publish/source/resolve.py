"""The source as all stages see it: resolved once a run."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mlx_publish.context import Context
from mlx_publish.converters import CONVERTERS, Converter, converter_for
from mlx_publish.errors import Interrupted, PublishError, Refused
from mlx_publish.hub.fetch import Fetched, fetch
from mlx_publish.hub.repo import RepoFiles, pinned
from mlx_publish.model.files import FolderFiles, ModelFiles
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.names import shown
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.source.identity import FolderIdentity

WEIGHTS = ".safetensors"


@dataclass(frozen=True)
class Source:
    """Files of the source, and what identifies their bytes: a commit, or a folder's digest."""

    files: ModelFiles
    context: Context
    own: str | FolderIdentity
    """The commit, or what takes the digest of a folder."""
    _fetched: list[Fetched] = field(default_factory=list)

    @property
    def identity(self) -> str:
        """The commit, or the digest of a folder, which may take a while.

        It is empty for a folder that a look at names, sizes and headers refuses already: nothing of it is digested.
        """
        return self.own if isinstance(self.own, str) else self.own.value

    @property
    def pending(self) -> bool:
        """Return whether the identity is still being found. The first look begins to find it."""
        return not isinstance(self.own, str) and self.own.pending

    def lay_out(self, paths: Iterable[str], folder: Path, *, beside: bool = False) -> Path:
        """Make `folder` with `paths` of the source and nothing else, downloaded where it is a repo.

        Whatever reads the source reads this: weights are links to where they lie, all else is copied. With `beside`
        the digests of a repo's weights are compared while they are in use: `unchanged` says whether they are right.
        """
        folder.mkdir()
        if isinstance(self.files, RepoFiles):
            entries = [self.files.entries[path] for path in paths]
            files, context = self.files, self.context
            fetched = fetch(files.repo, files.commit, entries, context.work, context.console.progress)
            context.ending.callback(fetched.end)
            self._fetched.append(fetched)
        for path in paths:
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(self.files, RepoFiles):
                place(target, (fetched.folder / path).resolve(), link=path.endswith(WEIGHTS))
            else:
                _take(self.files, path, target)
        if not beside:
            self.unchanged(())
        return folder

    @contextmanager
    def compared(self, paths: Iterable[str]) -> Iterator[None]:
        """Raise as `unchanged` does after a piece of work, also where it failed: wrong bytes fail in any way."""
        try:
            yield
        except Interrupted:
            raise
        except PublishError:
            self.unchanged(paths)
            raise
        self.unchanged(paths)

    def unchanged(self, paths: Iterable[str]) -> None:
        """Raise if what was laid out is not the source: nothing that was made of it may be kept then.

        `Refused` if a file of a folder is not the one any more that was looked at, `SurroundingsError` if a download
        differs from the Hub's digest.
        """
        if isinstance(self.files, FolderFiles):
            self.files.unchanged(paths)
        for fetched in self._fetched:
            fetched.verify()
        self._fetched.clear()


def _take(files: ModelFiles, path: str, target: Path) -> None:
    assert isinstance(files, FolderFiles)  # noqa: S101  there is no third kind
    if path not in files.entries:
        raise Refused("no longer exists", place=shown(path), remedy="Run inspect with --force.")
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
        return Source(files, context, FolderIdentity(context, files, lambda: metadata_of(context)))
    commit = (None if context.anew else _inspected(context)) or pinned(recipe.spec.source, recipe.spec.revision)
    return Source(RepoFiles(recipe.spec.source, commit), context, commit)


def commit_words(recipe: Recipe, commit: str) -> str:
    """Return which commit a branch or tag stands for, and the command that pins the recipe to it."""
    named = recipe.spec.revision or "the default branch"
    how = f"mlx-publish pin {recipe.place}" if recipe.place else f"add --revision {commit}"
    return f"{named} of {recipe.spec.source} is commit {commit}\nto pin it: {how}"


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
