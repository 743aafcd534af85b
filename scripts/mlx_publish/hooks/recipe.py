"""mlx-recipe: a recipe is valid, is pinned, keeps to the policy, and accepts only checks that exist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from mlx_publish.errors import BadInput
from mlx_publish.hooks.problem import Options, Problem, problems_of
from mlx_publish.policy import EMPTY, Policy, find_policy, objections
from mlx_publish.recipe_input import recipe_from_file


def look(files: Sequence[Path], _options: Options) -> Iterator[Problem]:
    """Yield what is wrong with recipes. Where there is no policy, an empty one is taken."""
    policy = find_policy(Path.cwd()) or EMPTY
    for path in files:
        yield from _recipe(path, policy)


def _recipe(path: Path, policy: Policy) -> Iterator[Problem]:
    found: list[BadInput] = []
    try:
        recipe = recipe_from_file(path, elsewhere=True)
        found += objections(recipe, policy)
        if recipe.spec.accept:
            from mlx_publish.checks.registry import judge_acceptances  # noqa: PLC0415  it loads every check

            judge_acceptances(recipe)
    except BadInput as error:
        found.append(error)
    for objection in found:
        yield from problems_of(objection, path)
