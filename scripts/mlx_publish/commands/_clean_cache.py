"""Sources in the Hub's cache that recipes here have used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlx_publish.commands._disk import hub_cache, last_used
from mlx_publish.commands._known import recipe_files
from mlx_publish.commands.clean import Stale
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.text.console import Console
from mlx_publish.text.files import read_json
from mlx_publish.text.numbers import size


def clean_cache(root: Path, recipes: Path, before: float, console: Console, *, keep: bool) -> list[Stale]:
    """Remove revisions that recipes here pin, or reports name, and that were last read before that time.

    Other models of the cache, and other revisions of these, stay. With `keep` they are only named.
    """
    cache, commits = hub_cache(), set(_commits(root, recipes))
    old = [(repo, revision) for repo, revision in cache.revisions(commits) if last_used(revision) <= before]
    for repo, revision in old:
        name = f"{repo} at {revision.commit_hash[:12]} from the Hub cache"
        console.say(f"{'would remove' if keep else 'removing'} {name} ({size(revision.size_on_disk)})")
    if not keep:
        for name in dict.fromkeys(repo for repo, _ in old):
            cache.remove(name, [revision for repo, revision in old if repo == name])
    return [Stale(revision.snapshot_path, revision.size_on_disk) for _, revision in old]


def _commits(root: Path, recipes: Path) -> Iterator[tuple[str, str]]:
    """Yield repo and commit of each source that a recipe here pins or a report names."""
    for file in recipe_files(recipes):
        recipe = file.recipe
        if recipe and recipe.source_folder is None and is_commit(recipe.spec.revision):
            yield recipe.spec.source, str(recipe.spec.revision)
        if recipe and recipe.spec.adapter and is_commit(recipe.spec.adapter_revision):
            yield recipe.spec.adapter, str(recipe.spec.adapter_revision)
    for path in root.glob("*/*/inspect.json"):
        report = read_json(path)
        result = report.get("result") if isinstance(report, dict) else None
        for source in (result.get("source"), result.get("adapter")) if isinstance(result, dict) else ():
            if isinstance(source, dict) and isinstance(source.get("repo"), str) and is_commit(source.get("identity")):
                yield source["repo"], source["identity"]
