"""recipe: a recipe for a model, inspected and pinned, or one written from flags."""

from __future__ import annotations

import argparse

from mlx_publish.commands._arguments import add_from_env, add_json, add_recipe, add_recipes, print_json, recipe_flags
from mlx_publish.commands._command import Command, Group
from mlx_publish.commands.init import add_proposal
from mlx_publish.errors import BadInput
from mlx_publish.text.console import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, and the flags that a recipe is made of."""
    text = "inspect this model of the Hub (namespace/name or its address) and propose a recipe"
    parser.add_argument("model", nargs="?", metavar="REPO", help=text)
    add_proposal(parser)
    add_json(parser)
    add_recipe(parser)
    add_recipes(parser)
    add_from_env(parser)


def run(options: argparse.Namespace, console: Console) -> int:
    """Propose a recipe, write one of the flags, or pin the one that is named to `--revision`, the only flag then."""
    flags = {key: value for key, value in recipe_flags(options).items() if value}
    if options.model:
        from mlx_publish.commands._add_recipe import add_recipe_for

        return add_recipe_for(options, flags, console)
    from mlx_publish.github.runner import Runner
    from mlx_publish.recipes.read import recipe_from_file
    from mlx_publish.recipes.write import pin, write_recipe

    path = options.recipe
    if path is None or not path.exists():
        path = write_recipe(options.recipes, flags)
    elif others := sorted(set(flags) - {"revision"}):
        place = f"--{others[0].replace('_', '-')}"
        raise BadInput("a recipe says this already", place=place, remedy=f"Change {path}.")
    elif "revision" in flags:
        pin(recipe_from_file(path, elsewhere=True), flags["revision"])
    console.say(f"recipe: {path}")
    print_json(options, {"written": [path.as_posix()], "recipe": None})
    Runner.from_env().write({"recipe": path.as_posix()})
    return 0


COMMAND = Command(
    "recipe",
    "write a recipe for a model: inspected, pinned, with variants that fit",
    2,
    add_arguments,
    run,
    description="Write recipes/<name>.yaml for a model of the Hub, like init does for the first one: inspected by its "
    "metadata, pinned to a commit, with variants that fit a Mac's memory. Flags replace what would be proposed. "
    "Without REPO, write the recipe that the flags describe.",
    group=Group.START,
    example="mlx-publish recipe HuggingFaceTB/SmolLM2-360M-Instruct --memory 16GB",
)
