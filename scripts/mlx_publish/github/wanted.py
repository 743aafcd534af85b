"""The recipes that an event is about, read and judged by the policy before any machine is asked."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlx_publish.errors import BadInput
from mlx_publish.github.request import ASKED, Request
from mlx_publish.recipes.faults import joined
from mlx_publish.recipes.policy import find_policy, judge, shared_destinations
from mlx_publish.recipes.read import recipe_from_file, recipe_from_flags, recipe_paths
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.text.nearest import nearest

_TAG = re.compile(r"refs/tags/(?P<recipe>[A-Za-z0-9][\w.-]*)/(?P<version>v[0-9][\w.-]*)", re.ASCII)


@dataclass(frozen=True)
class Wanted:
    """One recipe, and the variants of it that an event asks for."""

    recipe: Recipe
    path: Path
    """Where it lies in the work tree, or will lie."""
    labels: tuple[str, ...]
    """Variants that are wanted."""
    tag: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)
    """What the recipe is made of, or pinned to, before it is followed; nothing if it is followed as it is."""

    def whole(self) -> dict[str, str]:
        """Return everything as one job."""
        return self._job(self.recipe.name, "")

    def jobs(self, each: str) -> Iterator[dict[str, str]]:
        """Yield one job for the `recipe`, or one for each `variant`; all values are texts."""
        if each == "recipe":
            yield self.whole()
            return
        for label in self.labels:
            yield self._job(f"{self.recipe.name}-{label}", label)

    def _job(self, name: str, label: str) -> dict[str, str]:
        repo = self.recipe.destinations[label].repo if label else ""
        job = {"name": name, "recipe": self.path.as_posix(), "variant": label, "tag": self.tag, "repo": repo or ""}
        # The Action's inputs, for a source that has no recipe yet.
        return job | {outside: self.flags.get(key, "") for outside, key in ASKED.items()}


def known_recipes(folder: Path) -> dict[str, Path]:
    """Return the recipes of a folder by the names of their files. `BadInput` for two of one name, or one called all."""
    known: dict[str, Path] = {}
    for path in recipe_paths(folder):
        if path.stem in known:
            raise BadInput(
                f"duplicate of the recipe {known[path.stem].name}", place=str(path), remedy="Remove one of them."
            )
        if path.stem == "all":
            raise BadInput(
                "a recipe cannot be called all",
                place=str(path),
                remedy="Rename the file; the tag all/v1 means every recipe.",
            )
        known[path.stem] = path
    return known


def tagged(ref: str, known: Mapping[str, Path], folder: Path, cards: Path) -> list[Wanted]:
    """Return what a tag publishes. `BadInput` lists the allowed tags, or the cards that nobody has reviewed."""
    allowed = f"Valid tags: {', '.join(f'{name}/v1' for name in (*known, 'all'))}."
    match = _TAG.fullmatch(ref)
    if match is None:
        raise BadInput(f"'{ref}' is not a tag of a recipe", place="--ref", remedy=allowed)
    name, version = match["recipe"], match["version"]
    chosen = known if name == "all" else {name: known[name]} if name in known else {}
    if not chosen:
        raise BadInput(f"no recipe for the tag {name}/{version} in {folder}", place="--ref", remedy=allowed)
    wanted = [_of_file(path, tag=version) for path in chosen.values()]
    others = _readable(known)
    for entry in wanted:
        _judge_destinations(entry.recipe, others)
    # Before any machine is asked: what nobody has reviewed would be refused hours later.
    missing: dict[str, list[str]] = {}
    for entry in wanted:
        for card in (cards / entry.recipe.destinations[label].reviewed_as for label in entry.labels):
            if not all((card / file).is_file() for file in ("README.md", "evidence.json")):
                missing.setdefault(entry.recipe.name, []).append(card.as_posix())
    if missing:
        raise BadInput(
            f"no reviewed card in {', '.join(folder for folders in missing.values() for folder in folders)}",
            place="--ref",
            remedy=f"Request {' and '.join(missing)} with the form or a dispatch, merge the pull request, then tag.",
        )
    return wanted


def asked_for(request: Request, known: Mapping[str, Path], folder: Path) -> Wanted:
    """Return what a request is about. `BadInput` for an unknown recipe, or for a new source with a known name."""
    name, others = request.recipe, _readable(known)
    if request.source is not None and "to" not in request.keys:
        name = _recipe_of(request.source, others)
    if name is None:
        return _of_source(request, others, known, folder)
    path = known.get(name)
    if path is None:
        raise BadInput(
            f"{folder} has no recipe '{name}'",
            place="recipe",
            remedy=f"{_meant(name, known)}Recipes: {', '.join(known) or 'none; set a source instead'}.",
        )
    if request.source is not None:
        request = request.about(name)
    whole = _of_file(path)
    _judge_destinations(whole.recipe, others)
    strangers = [name for name in request.names if name not in whole.labels]
    if strangers:
        raise BadInput(
            f"the recipe {request.recipe} has no variant {strangers[0]}",
            place="variants",
            remedy=f"It has: {', '.join(whole.labels)}.",
        )
    flags = {"revision": request.keys["revision"]} if request.keys.get("revision") else {}
    return Wanted(whole.recipe, whole.path, request.names or whole.labels, flags=flags)


def _meant(name: str, known: Mapping[str, Path]) -> str:
    near = nearest(name, known)
    return f"Did you mean {near}? " if near else ""


def _readable(known: Mapping[str, Path]) -> dict[str, Recipe]:
    """Return the recipes that can be read, by name."""
    recipes = {}
    for name, path in known.items():
        with contextlib.suppress(BadInput):
            recipes[name] = recipe_from_file(path, elsewhere=True)
    return recipes


def _recipe_of(source: str, recipes: Mapping[str, Recipe]) -> str | None:
    """Return the name of a source's recipe, or None. `BadInput` if several have it."""
    names = [name for name, recipe in recipes.items() if recipe.spec.source.casefold() == source.casefold()]
    if len(names) > 1:
        raise BadInput(
            f"several recipes have this source: {', '.join(names)}", place="source", remedy="Choose one with 'recipe'."
        )
    return names[0] if names else None


def _judge_destinations(recipe: Recipe, others: Mapping[str, Recipe]) -> None:
    """Raise `BadInput` if another recipe publishes to the same place."""
    owners: dict[str, Recipe] = {}
    for other in others.values():
        if other.place != recipe.place:
            list(shared_destinations(other, owners))
    for fault in shared_destinations(recipe, owners):
        raise joined([fault])


def _of_file(path: Path, tag: str = "") -> Wanted:
    """Return all variants of a recipe, judged by the policy."""
    recipe = recipe_from_file(path, elsewhere=True)
    if policy := find_policy(Path.cwd()):
        judge(recipe, policy)
    return Wanted(recipe, path, tuple(variant.label for variant in recipe.variants), tag)


def _of_source(request: Request, others: Mapping[str, Recipe], known: Mapping[str, Path], folder: Path) -> Wanted:
    """Return what is asked of a source without a recipe. `BadInput` without a destination, or for a taken name."""
    if "to" not in request.keys and not request.dry_run:
        raise BadInput(
            "no recipe has this source, so a destination is required",
            place="destination",
            remedy="Set one, such as your-name/{source}-MLX-{variant}.",
        )
    flags = request.flags
    recipe = recipe_from_flags(flags)
    if recipe.source_folder is not None:
        raise BadInput(f"'{request.source}' is a folder in this repo", place="source", remedy="Use a repo on the Hub.")
    if recipe.name in known or recipe.name == "all":
        raise BadInput(
            f"the recipe {recipe.name} already exists" if recipe.name in known else "a recipe cannot be called all",
            place="source",
            remedy=f"Request that recipe instead, or add one with another name to {folder}.",
        )
    if policy := find_policy(Path.cwd()):
        judge(recipe, policy, flags)
    _judge_destinations(recipe, others)
    labels = tuple(variant.label for variant in recipe.variants)
    return Wanted(recipe, folder / f"{recipe.name}.yaml", labels, flags=flags)
