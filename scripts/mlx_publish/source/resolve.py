"""The source as all stages see it: resolved once a run."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mlx_publish.context import Context
from mlx_publish.converters import CONVERTERS, Converter, converter_for
from mlx_publish.errors import Interrupted, PublishError, Refused, SurroundingsError
from mlx_publish.hub.fetch import Fetched, fetch
from mlx_publish.hub.repo import RepoFiles, pinned
from mlx_publish.model.files import FolderFiles, ModelFiles
from mlx_publish.model.fused_files import FusedFiles, folders_of
from mlx_publish.model.metadata import Metadata
from mlx_publish.model.names import shown
from mlx_publish.model.senses import senses_in
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.recipes.recipe import Recipe, Variant
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
    def adapter(self) -> str | None:
        """The commit of the adapter, or the digest of its files where it is a folder; None without one."""
        return self.files.identity if isinstance(self.files, FusedFiles) else None

    @property
    def named(self) -> dict[str, str]:
        """What identifies all bytes that are read, for reports and for what is kept."""
        return {"source": self.identity, **({"adapter": self.adapter} if self.adapter else {})}

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

    def lay_out(
        self, paths: Collection[str], folder: Path, *, beside: bool = False, there: Mapping[str, Path] | None = None
    ) -> Path:
        """Make `folder` with `paths` of the source and nothing else, downloaded where it is a repo.

        Whatever reads the source reads this: weights are links to where they lie, all else is copied. With `beside`
        the digests of a repo's weights are compared while they are in use: `unchanged` says whether they are right.
        Files that are `there` are not downloaded: somebody else brings them, and compares them.
        """
        folder.mkdir()
        own = there or {}
        for files, wanted in self._by_files([path for path in paths if path not in own]):
            self._lay_out(files, wanted, folder)
        for path, lies in own.items():
            place(folder / path, lies, link=True)
        if isinstance(self.files, FusedFiles) and self.files.patched and "config.json" in paths:
            (folder / "config.json").write_bytes(self.files.patched)
        if not beside:
            self.unchanged(())
        return folder

    def _by_files(self, paths: Iterable[str]) -> Iterator[tuple[ModelFiles, Mapping[str, str]]]:
        """Yield where paths come from, a base and its adapter for themselves: by path, the path there."""
        if not isinstance(fused := self.files, FusedFiles):
            yield self.files, {path: path for path in paths}
            return
        for files in (fused.base, fused.adapter):
            here = {path: fused.origins[path] for path in paths if path in fused.origins}
            if wanted := {path: of for path, (owner, of) in here.items() if owner is files}:
                yield files, wanted

    def _lay_out(self, files: ModelFiles, wanted: Mapping[str, str], folder: Path) -> None:
        if isinstance(files, RepoFiles):
            entries, context = [files.entries[of] for of in wanted.values()], self.context
            fetched = fetch(files.repo, files.commit, entries, context.work, context.console.progress)
            context.ending.callback(fetched.end)
            self._fetched.append(fetched)
        for path, of in wanted.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(files, RepoFiles):
                place(target, (fetched.folder / of).resolve(), link=path.endswith(WEIGHTS))
            else:
                _take(files, of, target)

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
        folders = folders_of(self.files)
        for files, wanted in self._by_files(paths) if folders else ():
            if isinstance(files, FolderFiles):
                files.unchanged(wanted.values())
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
    """Return the converter of the source, by its model type and by whether it takes more than text and keeps that.

    The children of the run do their jobs by it.
    """
    try:
        chosen = context.once("converter", lambda: _installed(context, _chosen(context)))
    except Refused:  # its config cannot be read, which a check says
        return CONVERTERS[0]
    context.children.use(chosen.module, chosen.python())
    return chosen


def convert_by(context: Context, chosen: Converter) -> None:
    """Let a converter be that of the run, whatever would be chosen for the source today."""
    context.once("converter", lambda: _installed(context, chosen))


def _installed(context: Context, chosen: Converter) -> Converter:
    if chosen.lacking() and (reason := chosen.install(context.console.progress)):
        raise SurroundingsError(
            f"the source takes more than text, which {chosen.distribution} keeps, but it cannot be installed: {reason}",
            remedy="Run it again with network access, or set MLX_PUBLISH_VISION_PYTHON to a Python with mlx-vlm. "
            "For the text part alone, set 'modality: text' in the recipe.",
        )
    return chosen


def _chosen(context: Context) -> Converter:
    if context.recipe.spec.modality == "text":
        return converter_for(lambda: metadata_of(context).config.model_type)
    if (inspected := _converter_before(context)) is not None:
        return inspected
    senses = bool(senses_in(metadata_of(context).config.raw))
    return converter_for(lambda: metadata_of(context).config.model_type, senses=senses)


def _converter_before(context: Context) -> Converter | None:
    """Return the converter by which `inspect` passed this commit of a repo; None where reports say none, or several.

    A later stage need not read the source's config again, for which it may need the network.
    """
    again = context.anew and ("inspect" in context.force or not is_commit(context.recipe.spec.revision))
    if again or context.recipe.source_folder:
        return None
    asked = context.recipe.digest_of("source", "revision", "modality")
    reports = (context.work.report(variant.label, "inspect") for variant in context.recipe.variants)
    passed = [report.inputs for report in reports if report and report.verdict == "pass"]
    own = [i for i in passed if isinstance(recipe := i.get("recipe"), Mapping) and asked.items() <= recipe.items()]
    found = {converter.module: converter for inputs in own for converter in CONVERTERS if converter.module in inputs}
    return next(iter(found.values())) if len(found) == 1 else None


def _resolve(context: Context) -> Source:
    recipe = context.recipe
    base, own = _base(context)
    if recipe.spec.adapter is None:
        return Source(base, context, own)
    adapter = FolderFiles(recipe.adapter_folder) if recipe.adapter_folder else _adapter_repo(context)
    return Source(FusedFiles(base, adapter), context, own)


def _base(context: Context) -> tuple[ModelFiles, str | FolderIdentity]:
    recipe = context.recipe
    if recipe.source_folder:
        files = FolderFiles(recipe.source_folder)
        return files, FolderIdentity(context, files, lambda: _alone(context, files))
    commit = (None if context.anew else _inspected(context)) or pinned(recipe.spec.source, recipe.spec.revision)
    return RepoFiles(recipe.spec.source, commit), commit


def _alone(context: Context, files: ModelFiles) -> Metadata:
    """Return what a base tells without its adapter."""
    if context.recipe.spec.adapter is None:
        return metadata_of(context)
    return context.once("metadata of the base", lambda: Metadata(files))


def _adapter_repo(context: Context) -> RepoFiles:
    spec = context.recipe.spec
    repo = spec.adapter or ""
    commit = (None if context.anew else _inspected(context, "adapter")) or pinned(repo, spec.adapter_revision)
    if not is_commit(spec.adapter_revision):
        context.console.say(commit_words(context.recipe, commit, adapter=True))
    return RepoFiles(repo, commit)


def adapter_inputs(context: Context, variant: Variant) -> dict[str, object]:
    """Return the commit or digest of the adapter that a report depends on, as `inspect` found it; none without one."""
    found = context.report(variant, "inspect").inputs
    return {"adapter": found["adapter"]} if "adapter" in found else {}


def commit_words(recipe: Recipe, commit: str, *, adapter: bool = False) -> str:
    """Return which commit a branch or tag of the source, or the adapter, is, and the command that pins the recipe."""
    repo, revision = (recipe.spec.adapter if adapter else recipe.spec.source), recipe.spec.revision
    named = (recipe.spec.adapter_revision if adapter else revision) or "the default branch"
    flag = "--adapter-revision" if adapter else "--revision"
    how = f"mlx-publish pin {recipe.place}" if recipe.place else f"add {flag} {commit}"
    return f"{named} of {repo} is commit {commit}\nto pin it: {how}"


def _inspected(context: Context, key: str = "source") -> str | None:
    """Return the commit of the last `inspect` of this source and revision; None where reports name none, or several.

    With "adapter" it is the adapter's. A branch may move between two stages; what they say of one conversion has to be
    said of one commit.
    """
    asked = context.recipe.digest_of(key, "revision" if key == "source" else "adapter_revision")
    reports = (context.work.report(variant.label, "inspect") for variant in context.recipe.variants)
    passed = [report.inputs for report in reports if report and report.verdict == "pass"]
    commits = {
        str(inputs.get(key))
        for inputs in passed
        if isinstance(recipe := inputs.get("recipe"), Mapping) and asked.items() <= recipe.items()
    }
    return commits.pop() if len(commits) == 1 else None
