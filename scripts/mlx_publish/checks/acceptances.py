"""What a recipe accepts: checks that exist and are not for safety."""

from __future__ import annotations

from mlx_publish.checks.ids import BY_STAGE, RAISED
from mlx_publish.errors import BadInput
from mlx_publish.recipes.recipe import Recipe


def judge_acceptances(recipe: Recipe) -> None:
    """Raise `BadInput` if a recipe accepts a check that does not exist, or that nobody may accept."""
    known = {name: safety for checks in BY_STAGE.values() for name, safety in checks.items()}
    for number, entry in enumerate(recipe.spec.accept):
        key = f"accept[{number}].check"
        if entry.check in RAISED:
            raise BadInput(
                f"the check '{entry.check}' always counts",
                place=recipe.place_of(key),
                key=key,
                remedy="Remove the entry, and fix what the check reports.",
            )
        if entry.check not in known:
            import difflib  # noqa: PLC0415  mostly there is nothing to guess

            near = ", ".join(difflib.get_close_matches(entry.check, known, 3, 0.4))
            raise BadInput(
                f"unknown check '{entry.check}'",
                place=recipe.place_of(key),
                key=key,
                remedy=f"{f'Nearest: {near}. ' if near else ''}docs/checks.md lists them all.",
            )
        if known[entry.check]:
            raise BadInput(
                f"the check '{entry.check}' is for safety and cannot be accepted",
                place=recipe.place_of(key),
                key=key,
                remedy="Remove the entry, and fix what the check reports.",
            )
