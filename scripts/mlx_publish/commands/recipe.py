"""recipe: a recipe is written from flags, or pinned to a commit."""

from __future__ import annotations

import argparse

from mlx_publish.commands._arguments import add_from_env, add_recipe, add_recipes, recipe_flags
from mlx_publish.commands._command import Command
from mlx_publish.errors import BadInput
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that a recipe is made of."""
    add_recipe(parser)
    add_recipes(parser)
    add_from_env(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Write a recipe of the flags, or pin the one that is named to `--revision`, the only flag then."""
    from mlx_publish.github.runner import Runner
    from mlx_publish.recipes.read import recipe_from_file
    from mlx_publish.recipes.write import pin, write_recipe

    flags = {key: value for key, value in recipe_flags(options).items() if value}
    path = options.recipe
    if path is None or not path.exists():
        path = write_recipe(options.recipes, flags)
    elif others := sorted(set(flags) - {"revision"}):
        place = f"--{others[0].replace('_', '-')}"
        raise BadInput("a recipe says this already", place=place, remedy=f"Change {path}.")
    elif "revision" in flags:
        pin(recipe_from_file(path, elsewhere=True), flags["revision"])
    console.say(f"recipe: {path}")
    Runner.from_env().write({"recipe": path.as_posix()})
    return 0


COMMAND = Command("recipe", "write a recipe from flags, or pin one to --revision", 30, add_arguments, run)
