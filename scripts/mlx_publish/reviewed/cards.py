"""Cards in a work tree, where people read them as a diff, and back from there when they are published."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from mlx_publish.context import Context
from mlx_publish.errors import BadInput
from mlx_publish.evidence.digests import PICTURE, sha256_of
from mlx_publish.evidence.quantization import PLAN_FILE
from mlx_publish.recipes.recipe import Recipe, Variant
from mlx_publish.text.files import write_atomically

FILES = {
    "README.md": "README.md",
    "evidence.json": "mlx-publish.json",
    "evidence.sig": "mlx-publish.sig",
    "ladder.svg": "ladder.svg",
    PICTURE: PICTURE,
    PLAN_FILE: PLAN_FILE,
}
"""Files of a card by their names in the work tree, and as the published folder calls them."""


def card_folder(recipe: Recipe, variant: Variant, cards: Path) -> Path:
    """Return the folder of a variant's card: `cards/<namespace>/<name>` of its destination."""
    return cards / recipe.destinations[variant.label].reviewed_as


def put_card(context: Context, variant: Variant, cards: Path) -> Path:
    """Put card, evidence, chart, picture and plan of a variant into the work tree. Return their folder."""
    folder, model = card_folder(context.recipe, variant, cards), context.work.model(variant.label)
    for name, published in FILES.items():
        if (model / published).exists():
            write_atomically(folder / name, (model / published).read_bytes())
        else:
            (folder / name).unlink(missing_ok=True)
    return folder


def review_first(recipe: Recipe, cards: Path) -> str:
    """Return the commands that bring cards before people, and what to do in a repo whose cards lie elsewhere."""
    if not cards.is_dir():
        return (
            f"The folder {cards} does not exist. Name that of the reviewed cards, or {_make(recipe, cards, small=True)}"
        )
    return _make(recipe, cards)


def _make(recipe: Recipe, cards: Path, *, small: bool = False) -> str:
    named = f"--recipe {recipe.place} " if recipe.place else ""
    run = f"un: mlx-publish run {named}--into {cards}"
    return f"{'r' if small else 'R'}{run}; then have them reviewed: mlx-publish review {named}--cards {cards}"


def take_card(context: Context, variant: Variant, cards: Path) -> None:
    """Replace card, evidence, chart and picture in `model/` by the reviewed ones. `BadInput` if nothing was reviewed.

    The plan stays: the weights were made by it, so one that differs is refused.
    """
    judge_card(context, variant, cards)
    folder, model = card_folder(context.recipe, variant, cards), context.work.model(variant.label)
    for name, published in FILES.items():
        if name == PLAN_FILE:
            continue
        if (folder / name).is_file():
            shutil.copyfile(folder / name, model / published)
        else:
            (model / published).unlink(missing_ok=True)


def judge_card(context: Context, variant: Variant, cards: Path) -> None:
    """Raise `BadInput` if nothing of a variant was reviewed in `cards`."""
    folder = card_folder(context.recipe, variant, cards)
    for name in ("README.md", "evidence.json"):
        if not (folder / name).is_file():
            raise BadInput(
                f"no reviewed card of {variant.label}: {folder / name} is missing",
                place="--cards",
                remedy=f"{review_first(context.recipe, cards)}. Or take {variant.label} out of variants in the recipe.",
            )


def reviewed_plans(recipe: Recipe, variants: Sequence[Variant], cards: Path) -> dict[str, Path]:
    """Return the reviewed plans by label, which a conversion follows in place of measuring again."""
    paths = {variant.label: card_folder(recipe, variant, cards) / PLAN_FILE for variant in variants}
    return {label: path for label, path in paths.items() if path.is_file()}


def plan_digest(folder: Path) -> str:
    """Return the SHA-256 of the plan in the folder of a card or of a model; empty if there is none."""
    path = folder / PLAN_FILE
    return sha256_of(path) if path.is_file() and not path.is_symlink() else ""
