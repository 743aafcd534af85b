"""The commit of a recipe that a policy refuses because it is not pinned."""

from __future__ import annotations

import argparse
from contextlib import suppress

from mlx_publish.commands._arguments import recipe_flags
from mlx_publish.errors import BadInput, PublishError
from mlx_publish.hub.repo import resolve
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.recipes.read import recipe_from_file, recipe_from_flags
from mlx_publish.source.resolve import commit_words
from mlx_publish.text.console import Console


def say_commit(options: argparse.Namespace, error: BadInput, console: Console) -> None:
    """Print the commit that the revision stands for, if the revision is what is wrong and the Hub knows it."""
    if not any(fault.key == "revision" or fault.place.name == "--revision" for fault in error.faults):
        return
    with suppress(PublishError):
        file = options.recipe
        recipe = recipe_from_file(file, elsewhere=True) if file else recipe_from_flags(recipe_flags(options))
        if recipe.source_folder is None and not is_commit(recipe.spec.revision):
            console.say(commit_words(recipe, resolve(recipe.spec.source, recipe.spec.revision)))
