"""mlx-recipe: a recipe is valid, is pinned, keeps to the policy, accepts checks that exist, shares no destination."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mlx_publish.checks.acceptances import judge_acceptances
from mlx_publish.errors import BadInput, Fault
from mlx_publish.hooks.faults import Options, faults_of
from mlx_publish.recipes.policy import EMPTY, find_policy, objections, shared_destinations
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.recipes.recipe import Recipe


def look(files: Sequence[Path], _options: Options) -> Iterator[Fault]:
    """Yield faults in recipes. Where there is no policy, an empty one is taken."""
    policy = find_policy(Path.cwd()) or EMPTY
    owners: dict[str, Recipe] = {}
    for path in files:
        try:
            recipe = recipe_from_file(path, elsewhere=True)
        except BadInput as error:
            yield from faults_of(error, path)
            continue
        yield from objections(recipe, policy)
        try:
            judge_acceptances(recipe)
        except BadInput as error:
            yield from error.faults
        yield from shared_destinations(recipe, owners)
