"""The recipes that cards were made by, each read once."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

from mlx_publish.card.templates import templates_beside
from mlx_publish.errors import BadInput
from mlx_publish.hooks.evidence import EvidenceFile
from mlx_publish.recipes.faults import cut
from mlx_publish.recipes.policy import Policy, find_policy
from mlx_publish.recipes.read import recipe_from_file, recipe_paths
from mlx_publish.recipes.recipe import Recipe

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")  # as `name` of a recipe


@dataclass(frozen=True)
class Known:
    """A recipe, and the folder of the repo's own templates that its cards are made with."""

    recipe: Recipe
    templates: Path | None
    policy: Policy | None = None
    """What the repo of the current folder allows."""


class KnownRecipes:
    """Recipes of a folder by the name that evidence gives them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Known | BadInput] = {}
        self._others: dict[str, Recipe] | None = None
        self._templates: dict[Path, Path | None] = {}
        self._policy: Policy | None = None
        with contextlib.suppress(BadInput):  # the recipe hook says so
            self._policy = find_policy(Path.cwd())

    def of(self, file: EvidenceFile) -> Known:
        """Return the recipe of a piece of evidence. `BadInput` where there is none, or where it is wrong."""
        name = file.evidence.recipe
        if not _NAME.fullmatch(name):
            raise file.wrong(
                "recipe", f"no recipe can be called {cut(repr(name))}", "Take the evidence as it was made."
            )
        if name not in self._known:
            self._known[name] = self._read(name)
        known = self._known[name]
        if isinstance(known, BadInput):
            raise known
        return known

    def _read(self, name: str) -> Known | BadInput:
        try:
            recipe = self._by_file(name) or self._by_key(name)
        except BadInput as error:
            return error
        if recipe is None:
            return BadInput(
                f"there is no recipe {name} in {self._folder}",
                place=str(self._folder / f"{name}.yaml"),
                remedy=f"Add {self._folder / name}.yaml, name another folder with --recipes, or remove the card.",
            )
        beside = Path(recipe.place).parent
        if beside not in self._templates:
            self._templates[beside] = templates_beside(recipe)
        return Known(recipe, self._templates[beside], self._policy)

    def _by_file(self, name: str) -> Recipe | None:
        for ending in (".yaml", ".yml"):
            path = self._folder / f"{name}{ending}"
            if path.is_file():
                recipe = recipe_from_file(path, elsewhere=True)
                return recipe if recipe.name == name else None
        return None

    def _by_key(self, name: str) -> Recipe | None:
        """Return a recipe that has another name than its file; one that is wrong cannot be it."""
        if self._others is None:
            self._others = {}
            for path in recipe_paths(self._folder):
                try:
                    recipe = recipe_from_file(path, elsewhere=True)
                except BadInput:
                    continue
                self._others.setdefault(recipe.name, recipe)
        return self._others.get(name)
