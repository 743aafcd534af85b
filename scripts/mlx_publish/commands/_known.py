"""The recipes of a folder, each with what is wrong with it: one faulty file does not hide the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.errors import BadInput, Fault
from mlx_publish.recipes.policy import find_policy, objections, shared_destinations
from mlx_publish.recipes.read import recipe_from_file, recipe_paths
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.text.harmless import one_line
from mlx_publish.text.nearest import did_you_mean


@dataclass(frozen=True)
class RecipeFile:
    """A file of recipes/."""

    path: Path
    recipe: Recipe | None
    """None where it cannot be read."""
    faults: tuple[Fault, ...] = ()

    @property
    def name(self) -> str:
        """The recipe's name, or the file's."""
        return self.recipe.name if self.recipe else self.path.stem


def recipe_files(folder: Path) -> tuple[RecipeFile, ...]:
    """Return all recipes of a folder, judged by the policy of the current repo and by each other."""
    policy, owners = find_policy(Path.cwd()), dict[str, Recipe]()
    files = list[RecipeFile]()
    for path in recipe_paths(folder):
        try:
            recipe = recipe_from_file(path, elsewhere=True)
        except BadInput as error:
            files.append(RecipeFile(path, None, error.faults))
            continue
        faults = objections(recipe, policy) if policy else []
        files.append(RecipeFile(path, recipe, (*faults, *shared_destinations(recipe, owners))))
    return tuple(files)


def no_recipes(folder: Path) -> BadInput:
    """Return the error for a folder without recipes."""
    what = "contains no recipe (*.yaml)" if folder.is_dir() else "does not exist"
    return BadInput(
        f"the recipes folder {folder} {what}",
        place="--recipes",
        remedy=f"Change to the folder that contains {folder}/, name another one with --recipes DIR, "
        "or write a first recipe: mlx-publish init",
    )


def unknown(name: str, names: Sequence[str]) -> BadInput:
    """Return the error for a recipe that does not exist, with the ones that do."""
    return BadInput(
        f"there is no recipe {one_line(name)!r} here{did_you_mean(name, names)}",
        place="RECIPE",
        remedy=f"Recipes here: {', '.join(names) or 'none'}.",
    )
