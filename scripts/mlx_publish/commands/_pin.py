"""Recipes pinned to the commit that their revision points to."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path

from mlx_publish.commands._arguments import print_json
from mlx_publish.errors import BadInput
from mlx_publish.hub.repo import resolve
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.recipes.read import recipe_from_file, recipe_paths
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.recipes.write import pin
from mlx_publish.text.console import Console
from mlx_publish.text.nearest import did_you_mean


@dataclass(frozen=True)
class Pinned:
    """A recipe's revision before and after, and what to say of it."""

    recipe: str
    before: str | None
    commit: str | None
    changed: bool
    note: str


def pin_recipes(options: argparse.Namespace, folder: Path, console: Console) -> int:
    """Pin the recipes that are asked for; return 0. Every revision is resolved before the first file is written."""
    if options.revision and options.update:
        raise BadInput("--update is another revision", place="--revision", remedy="Give one of the two.")
    paths = [_path_of(word, folder) for word in options.wanted] or recipe_paths(folder)
    if not paths:
        remedy = "Name a file: mlx-publish pin FILE"
        raise BadInput(f"there are no recipes in {folder}", place="--recipes", remedy=remedy)
    if options.revision and len(paths) > 1:
        raise BadInput(
            f"is for one recipe, and these are {len(paths)}",
            place="--revision",
            remedy="Name the recipe: mlx-publish pin RECIPE --revision REV",
        )
    recipes = [recipe_from_file(path, elsewhere=True) for path in paths]
    commits = [_commit_of(recipe, options.revision, update=options.update) for recipe in recipes]
    named = options.update or bool(options.revision)
    rows = [_pinned(recipe, commit, named=named) for recipe, commit in zip(recipes, commits, strict=True)]
    rows += [row for path in paths if (row := _adapter_pinned(path, update=options.update)) is not None]
    for row in rows:
        console.say(f"{row.recipe}: {row.note}")
    print_json(options, {"recipes": [asdict(row) for row in rows]})
    return 0


def _path_of(word: str, folder: Path) -> Path:
    """Return the file of a recipe that is given by path or by name."""
    if (path := Path(word)).is_file():
        return path
    known = recipe_paths(folder)
    found = next((path for path in known if path.stem == word), None)
    if found is None:
        names = [path.stem for path in known]
        message = f"no recipe named '{word[:100]}'{did_you_mean(word, names)}"
        raise BadInput(message, place="RECIPE", remedy=f"Recipes in {folder}: {', '.join(names) or 'none'}.")
    return found


def _commit_of(recipe: Recipe, revision: str | None, *, update: bool) -> str | None:
    """Return the commit to pin a recipe to; None for a folder, and where the recipe is pinned and stays so."""
    if recipe.source_folder is not None:
        return None
    if revision and is_commit(revision):
        return revision
    if is_commit(recipe.spec.revision) and not (update or revision):
        return None
    return resolve(recipe.spec.source, None if update else revision or recipe.spec.revision)


def _adapter_pinned(path: Path, *, update: bool) -> Pinned | None:
    """Pin the adapter of a recipe whose source is pinned already; None where it names no repo as its adapter."""
    recipe = recipe_from_file(path, elsewhere=True)
    repo, before = recipe.spec.adapter, recipe.spec.adapter_revision
    if repo is None or recipe.adapter_folder is not None:
        return None
    commit = before if is_commit(before) and not update else resolve(repo, None if update else before)
    if commit is None or not pin(recipe, commit, adapter=True):
        return Pinned(recipe.place, before, before, False, f"its adapter is already pinned to {before}")
    return Pinned(recipe.place, before, commit, True, f"adapter: {before or 'the default branch'} → {commit}")


def _pinned(recipe: Recipe, commit: str | None, *, named: bool) -> Pinned:
    """Write the commit, and return what happened."""
    before = recipe.spec.revision
    if recipe.source_folder is not None:
        return Pinned(recipe.place, None, None, False, "its source is a folder, which has no commit")
    if commit is None or commit == before:
        note = f"already pinned to {before}"
        if not named:
            note += "; --update moves it to the newest commit of the default branch"
        return Pinned(recipe.place, before, before, False, note)
    pin(recipe, commit)
    return Pinned(recipe.place, before, commit, True, f"{before or 'the default branch'} → {commit}")
