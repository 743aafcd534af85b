"""Made again: the conversion that an evidence tells of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_publish.context import Context
from mlx_publish.errors import BadInput
from mlx_publish.recipes.read import recipe_from_data
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.reviewed.known import of_source
from mlx_publish.source.resolve import source_of
from mlx_publish.stages.rebuilding import PLANNED, made
from mlx_publish.text.console import Console
from mlx_publish.work import Work

_LICENCE = {"": "id", "_name": "name", "_link": "link"}
_OPTIONS = ("bits", "group_size", "mode", "mixed", "dtype")


@dataclass(frozen=True)
class Rebuilt:
    """What came of another conversion."""

    sha256: Mapping[str, str]
    differences: tuple[str, ...]
    """Where the evidence says something else than its source gives."""


def rebuild(evidence: Mapping[str, Any], source: str, root: Path, console: Console) -> Rebuilt:
    """Convert the source of the evidence at its commit again, in the work folder `root`.

    `source` is the folder of a source that is no repo. Raises what `convert` raises, `BadInput` where no source is
    known or the folder is another one, and `Refused` where it cannot be converted any more.
    """
    recipe = recipe_of(evidence, source)
    label, work = recipe.variants[0].label, Work(root, recipe.name)
    context = Context(recipe, recipe.variants, work, console, planned=PLANNED)
    with work.lock():
        _same_source(context, evidence)
        digests = made(context, "made-again")[label]
        return Rebuilt(digests, tuple(map(str, of_source(context, recipe.variants[0], evidence))))


def _same_source(context: Context, evidence: Mapping[str, Any]) -> None:
    found, told = source_of(context).identity, evidence["source"]["identity"]
    if found and found != told:  # one that is not even digested is refused by inspect, which says why
        raise BadInput(
            f"the folder has the digest {found[:12]}, and the evidence names {told[:12]}", place="--source",
            remedy="Give the very folder that it was converted from.",
        )  # fmt: skip


def recipe_of(evidence: Mapping[str, Any], source: str = "") -> Recipe:
    """The recipe of one variant, as its evidence tells it. `BadInput` where the source is a folder nobody gave."""
    told, licence = evidence["source"], evidence["licence"]
    if not (told["repo"] or source):
        raise BadInput(
            f"the source was the folder {told['name']}, which the evidence can only name", place="--source",
            remedy="Give that folder with --source.",
        )  # fmt: skip
    data: dict[str, Any] = {
        "name": evidence["recipe"],
        "source": told["repo"] or str(Path(source).resolve()),
        "variants": [_variant(evidence["variant"])],
        "accept": [{"check": c["id"], "reason": c["accepted"]} for c in evidence["checks"] if c["accepted"]],
        **({"modality": told["modality"]} if told.get("modality") else {}),
        **({"revision": told["identity"]} if told["repo"] else {}),
        **{f"license{key}": licence[name] for key, name in _LICENCE.items() if licence[name]},
    }
    return recipe_from_data(data)


def _variant(told: Mapping[str, Any]) -> dict[str, Any]:
    """The options as a recipe has them: a mixed recipe chooses the bits, and has no mode."""
    found = {key: told[key] for key in _OPTIONS if told[key] is not None}
    if told["mixed"]:
        found.pop("mode", None)
    return {"name": told["label"], **found}
