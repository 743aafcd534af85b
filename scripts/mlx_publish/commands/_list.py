"""The command: each recipe with source, revision, variants and destinations."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from mlx_publish.commands._arguments import fault_record, print_json
from mlx_publish.commands._known import RecipeFile, no_recipes, recipe_files
from mlx_publish.errors import BadInput
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.text.console import Console
from mlx_publish.text.harmless import one_line

_LABEL = 9


def list_recipes(options: argparse.Namespace, console: Console) -> int:
    """Print all recipes of a folder; return 2 where one of them is faulty, which does not hide the others."""
    folder: Path = options.recipes
    files = recipe_files(folder)
    if not files:
        raise no_recipes(folder)
    for file in files:
        console.heading(file.name, str(file.path))
        for label, text in _facts(file.recipe) if file.recipe else ():
            console.say(f"{label:{_LABEL}} {one_line(text, 400)}")
        for fault in file.faults:
            console.say(f"{'wrong':{_LABEL}} {fault}")
            if fault.remedy:
                console.say(f"{'':{_LABEL}} {fault.remedy}")
    faulty = sum(bool(file.faults) for file in files)
    variants = sum(len(file.recipe.variants) for file in files if file.recipe)
    console.say("")
    console.say(f"{_some(len(files), 'recipe')}, {_some(variants, 'variant')}" + (f", {faulty} faulty" * bool(faulty)))
    print_json(options, {"recipes": [_record(file) for file in files]})
    return BadInput.exit_code if faulty else 0


def _facts(recipe: Recipe) -> Iterator[tuple[str, str]]:
    yield "source", _source(recipe)
    if recipe.spec.adapter:
        yield "adapter", _at(recipe, recipe.spec.adapter, recipe.adapter_folder, recipe.spec.adapter_revision)
    yield "variants", ", ".join(variant.label for variant in recipe.variants)
    for number, destination in enumerate(dict.fromkeys(map(str, recipe.destinations.values()))):
        yield "" if number else "to", destination


def _source(recipe: Recipe) -> str:
    return _at(recipe, recipe.spec.source, recipe.source_folder, recipe.spec.revision)


def _at(recipe: Recipe, repo: str, folder: Path | None, revision: str | None) -> str:
    if folder:
        return str(folder)
    if is_commit(revision):
        return f"{repo} at {str(revision)[:12]}"
    return f"{repo} at {revision or 'main'} (not pinned; run: mlx-publish pin {recipe.place})"


def _adapter_record(recipe: Recipe) -> dict[str, object]:
    named = str(recipe.adapter_folder or recipe.spec.adapter)
    return {"adapter": named, "adapter_revision": recipe.spec.adapter_revision}


def _some(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _record(file: RecipeFile) -> dict[str, object]:
    recipe = file.recipe
    return {
        "name": file.name,
        "file": str(file.path),
        "source": str(recipe.source_folder or recipe.spec.source) if recipe else None,
        "revision": recipe.spec.revision if recipe else None,
        "pinned": bool(recipe and (recipe.source_folder or is_commit(recipe.spec.revision))),
        **(_adapter_record(recipe) if recipe and recipe.spec.adapter else {}),
        "variants": [variant.label for variant in recipe.variants] if recipe else [],
        "destinations": {label: str(to) for label, to in recipe.destinations.items()} if recipe else {},
        "faults": [fault_record(fault) for fault in file.faults],
    }
