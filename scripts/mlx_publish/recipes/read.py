"""From a YAML file or from flags to a `Recipe`: one parser, errors with file, line and key."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mlx_publish.errors import BadInput, Place, in_file
from mlx_publish.methods.plan import width_of
from mlx_publish.recipes.faults import bad_input
from mlx_publish.recipes.flags import keys_of
from mlx_publish.recipes.recipe import (
    DEFAULT_DESTINATION,
    TEXT_DESTINATION,
    Destination,
    Recipe,
    RecipeSpec,
    RepoId,
    Variant,
)
from mlx_publish.text.nearest import nearest
from mlx_publish.text.yaml import load_yaml, scalar

_FLAGS = keys_of(RecipeSpec)
VARIANT_FLAGS = tuple(key.name for key in _FLAGS if key.path[0] == "variants" and len(key.path) > 1)
_REPO: TypeAdapter[str] = TypeAdapter(RepoId)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
FOLDER = re.compile(r"^(\.{1,2}(/|$)|/|~)")
"""How a source begins that can only be a folder."""
FOLDER_OF_RECIPES = Path("recipes")
_PLACEHOLDERS: Mapping[str, str] = {"bit": "bits", "model": "source", "name": "source", "quant": "variant"}
_LISTED = 10
"""Other recipes that a message names."""


def recipe_paths(folder: Path) -> list[Path]:
    """Return the files of recipes in a folder, by their names."""
    return sorted((*folder.glob("*.yaml"), *folder.glob("*.yml")))


def _no_recipe(path: Path) -> BadInput:
    """Say that there is no such file, which others there are, and which of them was probably meant."""
    near = path.parent if path.parent != Path() else FOLDER_OF_RECIPES
    files = recipe_paths(near) or recipe_paths(FOLDER_OF_RECIPES)
    by_name = {file.stem: file for file in files}
    meant = nearest(path.stem, by_name)
    ending = f"; did you mean {by_name[meant]}?" if meant else ""
    more = f", and {len(files) - _LISTED} more" if len(files) > _LISTED else ""
    listed = f"Recipes in {files[0].parent}: {', '.join(file.name for file in files[:_LISTED])}{more}." if files else ""
    remedy = listed or "Create one: mlx-publish init, or mlx-publish recipe --help."
    return BadInput(f"recipe not found{ending}", place=str(path), remedy=remedy)


def recipe_from_file(path: Path, *, to: str | None = None, elsewhere: bool = False) -> Recipe:
    """Read a recipe file; `to` replaces its destination.

    With `elsewhere` it is read on a machine that will not follow it, so a source that is a folder need not be there.
    Folders in the file are relative to the file, a folder in `to` to the current one.
    Raises `BadInput` naming file, line and key.
    """
    if not path.exists():
        raise _no_recipe(path)
    if path.is_dir():
        remedy = (
            f"Use one of its files: {', '.join(map(str, recipe_paths(path)[:_LISTED])) or 'it contains no recipes'}."
        )
        raise BadInput("this is a folder, not a recipe", place=str(path), remedy=remedy)
    data, lines = load_yaml(path)
    if not isinstance(data, dict):
        raise BadInput("a recipe is a mapping of keys, such as 'source: namespace/name'", place=in_file(path))
    spec = _validate(data, str(path), lines)
    folder = path.resolve().parent
    if to is not None:
        spec = spec.model_copy(update={"to": to})
    folders = _folder_of(spec.source, folder), _folder_of(spec.adapter, folder) if spec.adapter else None
    try:
        return _complete(
            spec, spec.name or path.stem, folders, (str(path), lines), Path.cwd() if to else folder, elsewhere
        )
    except BadInput as error:
        if to is None or error.key != "to":
            raise
        raise BadInput(error.message, place="--to", remedy=error.remedy) from None


def recipe_from_flags(flags: Mapping[str, str]) -> Recipe:
    """Make the same object from flags or a form, as text by the recipe's keys.

    `bits`, `group_size`, `mode`, `mixed` and `dtype` describe one variant; `variants` takes short names with commas.
    """
    data: dict[str, Any] = {"variants": _variants(flags)}
    for key in _FLAGS:
        *sections, name = key.path
        if name in flags and key.path[0] != "variants":
            place = data
            for section in sections:
                place = place.setdefault(section, {})
            place[name] = (_switch if key.switch else _READERS[key.kind])(flags[name])
    return recipe_from_data(data)


def recipe_from_data(data: Mapping[str, object]) -> Recipe:
    """Make a recipe from plain data; messages name its keys as flags."""
    spec = _validate(data, "", {})
    source, adapter = _given(spec.source), _given(spec.adapter) if spec.adapter else None
    name = spec.name or Recipe(spec, "", source, {}, adapter_folder=adapter).model_name
    return _complete(spec, name, (source, adapter), ("", {}), Path.cwd())


def _given(text: str) -> Path | None:
    """Return the folder that a flag names, also without `./` where there is one; None if it names a repo."""
    path = expanded(text)
    return path.resolve() if is_folder(path) else _folder_of(text, Path.cwd())


def _variants(flags: Mapping[str, str]) -> list[Any]:
    described = {key: scalar(flags[key]) for key in VARIANT_FLAGS if key in flags}
    if "variants" not in flags:
        return [described]
    if described:
        raise BadInput(
            "describes one variant, but --variants lists several",
            place=f"--{next(iter(described)).replace('_', '-')}",
            remedy="Use one or the other.",
        )
    return list(_list(flags["variants"]))


def _list(text: str) -> list[str]:
    return [item for item in re.split(r"[\s,]+", text) if item]


def _switch(text: str) -> Any:
    """Read `true` or `false`, and what people write for them on a command line."""
    return {"yes": True, "on": True, "y": True, "no": False, "off": False, "n": False}.get(
        text.strip().casefold(), scalar(text)
    )


_READERS: Mapping[str, Callable[[str], Any]] = {"list": _list, "scalar": scalar, "text": str}


def _validate(data: Mapping[str, object], place: str, lines: Mapping[str, int]) -> RecipeSpec:
    try:
        spec = RecipeSpec.model_validate(data)
    except ValidationError as error:
        raise bad_input(error.errors(), place, lines, "docs/recipe.md", RecipeSpec) from None
    for key in ("source", "to", "adapter"):
        if _CONTROL.search(getattr(spec, key) or ""):
            where = Place(place, lines.get(key, 1)) if place else Place(f"--{key}")
            message = f"{getattr(spec, key)[:100]!r} contains a control character"
            raise BadInput(message, place=where, key=key if place else "", remedy="Remove the control character.")
    return spec


def _folder_of(source: str, base: Path) -> Path | None:
    """Return the folder a source names, or None if it names a repo."""
    return (base / expanded(source)).resolve() if FOLDER.match(source) else None


def expanded(path: str) -> Path:
    """Return a path with `~` and `~somebody` replaced."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # nobody is called so; then the path as written is the one that does not exist
        return Path(path)


def is_folder(path: Path) -> bool:
    """Return whether there is a folder of that name, whatever the name is."""
    try:
        return path.is_dir()
    except OSError:  # as a name that is too long
        return False


def is_file(path: Path) -> bool:
    """Return whether there is a file of that name, whatever the name is."""
    try:
        return path.is_file()
    except OSError:  # as a name that is too long
        return False


def _complete(
    spec: RecipeSpec,
    name: str,
    folders: tuple[Path | None, Path | None],
    written: tuple[str, Mapping[str, int]],
    base: Path,
    elsewhere: bool = False,
) -> Recipe:
    place, lines = written
    draft = Recipe(spec, name, folders[0], {}, place, lines, adapter_folder=folders[1])
    _check_origin(draft, "source", "revision", folders[0], elsewhere)
    if spec.adapter is not None:
        _check_origin(draft, "adapter", "adapter_revision", folders[1], elsewhere)
    _check_names(draft)
    destinations = {item.label: _destination(draft, item, base) for item in spec.variants}
    shared = [str(dest) for dest, count in Counter(destinations.values()).items() if count > 1]
    if shared:
        raise BadInput(
            f"several variants have the same destination, {shared[0]}",
            place=_where(draft, "to"),
            key="to" if place else "",
            remedy="Add {variant} or {bits} to it.",
        )
    return replace(draft, destinations=destinations, plans=dict(_plans(draft, elsewhere)))


def _plans(recipe: Recipe, elsewhere: bool) -> Iterator[tuple[str, Path]]:
    """Yield label and plan file of the variants that follow one. `BadInput` if a file is missing, or is no plan."""
    base = Path(recipe.place).resolve().parent if recipe.place else Path.cwd()
    for variant in recipe.variants:
        if variant.plan is None:
            continue
        path = base / expanded(variant.plan)
        if not is_file(path):
            if elsewhere:
                yield variant.label, path
                continue
            place, key = recipe.key_of(variant, "plan")
            raise BadInput(
                f"the plan file {path} does not exist",
                place=place,
                key=key,
                remedy="Correct the path, or use target_bpw: a run writes plan.yaml into the work folder.",
            )
        from mlx_publish.recipes.plan import read_plan  # noqa: PLC0415  most recipes follow none

        read_plan(path)
        yield variant.label, path


def _where(recipe: Recipe, key: str) -> Place:
    return recipe.place_of(key) or Place(f"--{key.rpartition('.')[2].replace('_', '-')}")


def _check_origin(recipe: Recipe, key: str, revision: str, folder: Path | None, elsewhere: bool) -> None:
    """Check the source, or the adapter: a repo or a `folder`, at a `revision` if it is a repo."""
    where, named = _where(recipe, key), key if recipe.place else ""
    if folder is None:
        text = getattr(recipe.spec, key)
        try:
            _REPO.validate_python(text)
        except ValidationError:
            raise BadInput(
                f"'{text}' is neither a repo (namespace/name) nor a folder (./path)",
                place=where,
                key=named,
                remedy="Use namespace/name for a repo on the Hub; start a folder with ./ or /.",
            ) from None
    elif not elsewhere and not is_folder(folder):
        raise BadInput(
            f"the folder {folder} does not exist",
            place=where,
            key=named,
            remedy="Correct the path, or create the folder first.",
        )
    elif getattr(recipe.spec, revision):
        raise BadInput(
            "a folder has no revision",
            place=_where(recipe, revision),
            remedy="Remove revision; the folder's files are identified by their digests.",
        )
    elif recipe.spec.stream:
        raise BadInput(
            "a source that is a folder is on this disk already; only a source on the Hub can be streamed",
            place=_where(recipe, "stream"),
            key="stream" if recipe.place else "",
            remedy="Remove stream: true.",
        )


def _check_names(recipe: Recipe) -> None:
    twice = [label for label, count in Counter(v.label for v in recipe.variants).items() if count > 1]
    if twice:
        raise BadInput(
            f"two variants are named {twice[0]}",
            place=_where(recipe, "variants"),
            key="variants" if recipe.place else "",
            remedy="Set 'name' on one of them.",
        )
    if any(v.label == "source" for v in recipe.variants):
        raise BadInput(
            "a variant cannot be named source; the work folder uses that name for the source",
            place=_where(recipe, "variants"),
            key="variants" if recipe.place else "",
            remedy="Take another name.",
        )


def _destination(recipe: Recipe, variant: Variant, base: Path) -> Destination:
    """Return where one variant goes, by the pattern."""
    place, key = _where(recipe, "to"), "to" if recipe.place else ""
    values: dict[str, object] = {"source": recipe.model_name, "variant": variant.label}
    if variant.quantized and (width := width_of(variant)):
        values["bits"] = width
    pattern = recipe.spec.to
    if pattern == DEFAULT_DESTINATION and recipe.spec.modality == "text":
        pattern = TEXT_DESTINATION
    if reasons := list(_unfilled(pattern, values, variant)):
        remedy = "Placeholders: {source}, {variant} and {bits}."
        raise BadInput(f"'{pattern}': {', '.join(reasons)}", place=place, key=key, remedy=remedy)
    text = re.sub(r"\{(\w+)\}", lambda field: str(values[field[1]]), pattern)
    if text.startswith("folder:"):
        return Destination(folder=(base / expanded(text[len("folder:") :])).resolve())
    try:
        return Destination(repo=_REPO.validate_python(text))
    except ValidationError:
        raise BadInput(
            f"'{text}' is neither namespace/name nor folder:PATH",
            place=place,
            key=key,
            remedy="Use letters, digits, '-', '_' and '.', at most 96 characters including the namespace.",
        ) from None


def _unfilled(pattern: str, values: Mapping[str, object], variant: Variant) -> Iterator[str]:
    """Yield why a placeholder of a destination has no value."""
    for name in dict.fromkeys(re.findall(r"\{([^{}]*)\}", pattern)):
        if name in values:
            continue
        if name == "bits":
            yield f"the variant {variant.label} has no single bit width for {{bits}}; use {{variant}}"
        else:
            meant = nearest(name, ("source", "variant", "bits")) or _PLACEHOLDERS.get(name.casefold(), "")
            yield f"unknown placeholder {{{name}}}" + (f"; did you mean {{{meant}}}?" if meant else "")
