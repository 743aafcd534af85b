"""What a command line asks for of a recipe, and what is answered where the two do not fit together."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlx_publish.errors import BadInput
from mlx_publish.recipes.read import FOLDER_OF_RECIPES, recipe_paths
from mlx_publish.recipes.recipe import Recipe, Variant
from mlx_publish.recipes.slips import variants_meant
from mlx_publish.text.nearest import nearest

_WIDTH = re.compile(r"\d+bit")
_LISTED = 10
"""Recipes that a message names."""


def chosen_variants(recipe: Recipe, names: Sequence[str] | None) -> tuple[Variant, ...]:
    """Return the variants of these names, all of them for None. Raises `BadInput` for those that the recipe lacks."""
    labels = [variant.label for variant in recipe.variants]
    if names is None:
        return recipe.variants
    unknown = [name for name in dict.fromkeys(names) if name not in labels]
    if unknown or not names:
        said = ", ".join(_unknown(name, labels) for name in unknown) or "no variant is named"
        raise BadInput(
            said,
            place=f"--variant of {recipe.place}" if recipe.place else "--variant",
            remedy=_remedy(recipe, labels, unknown),
        )
    return tuple(variant for variant in recipe.variants if variant.label in names)


def given_twice(key: str, value: str) -> BadInput:
    """Say that a flag describes what the recipe says already."""
    flag = f"--{key.replace('_', '-')}"
    remedy = "Change the recipe, or leave --recipe out."
    if key == "variants":
        remedy = f"To run some of its variants: --variant {value}. Others belong into the recipe."
    return BadInput("the recipe defines this already", place=flag, remedy=remedy)


def nothing_given() -> BadInput:
    """Say that no model is named, and which recipes there are."""
    files = recipe_paths(FOLDER_OF_RECIPES)
    listed = f" Recipes here: {', '.join(map(str, files[:_LISTED]))}." if files else ""
    return BadInput(
        "neither --recipe nor --source is given", remedy=f"Name a recipe or a model with one of them.{listed}"
    )


def _unknown(name: str, labels: Sequence[str]) -> str:
    names = list(variants_meant(name))
    meant = next((label for label in names if label in labels), "")
    if not meant and not _WIDTH.fullmatch(names[0]):  # 5bit is not 4bit mistyped
        meant = nearest(name, labels)
    return f"there is no variant {name[:100]}" + (f"; did you mean {meant}?" if meant else "")


def _remedy(recipe: Recipe, labels: Sequence[str], unknown: Sequence[str]) -> str:
    if recipe.place:
        return f"The recipe {recipe.name} has: {', '.join(labels)}."
    wanted = f" To make others: --variants {','.join(unknown)}." if unknown else ""
    return f"These flags describe: {', '.join(labels)}.{wanted}"
