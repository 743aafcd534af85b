"""A recipe as a file, made from flags, and the commit that it is pinned to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from yaml import YAMLError  # type: ignore[import-untyped]

from mlx_publish.errors import BadInput, Bug, in_file
from mlx_publish.recipes.read import VARIANT_FLAGS, recipe_from_file, recipe_from_flags
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.text.files import write_atomically
from mlx_publish.text.temporary import TemporaryFolder
from mlx_publish.text.yaml_edit import with_value

_BREAKS = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")
_NUMBER = re.compile(r"\d+(?:e\d+)?")
"""A commit that YAML would read as a number."""
_AFTER = {"revision": "source", "adapter_revision": "adapter"}
_HEAD = "# Made from what was asked for; from now on it is changed here.\n"


def recipe_text(flags: Mapping[str, str]) -> str:
    """Return YAML that gives the same recipe as the flags; every text stands in quotes, so that none is a command."""
    spec = recipe_from_flags(flags).spec
    data = spec.model_dump(mode="json", exclude_defaults=True)
    if "variants" in data:
        data["variants"] = [
            {key: value for key, value in entry.items() if value is not None} for entry in data["variants"]
        ]
    if "variants" in flags and not set(flags) & set(VARIANT_FLAGS):
        data["variants"] = [name for name in flags["variants"].replace(",", " ").split() if name]
    return _HEAD + "".join(recipe_lines(data))


def recipe_lines(data: Mapping[str, object]) -> Iterator[str]:
    """Yield a line of YAML for each key, those of a section below its name."""
    for key, value in data.items():
        if isinstance(value, dict):
            yield f"{key}:\n"
            yield from (f"  {line}" for line in recipe_lines(value))
        else:
            yield f"{key}: {_quoted(value)}\n"


def write_recipe(folder: Path, flags: Mapping[str, str]) -> Path:
    """Write `folder/<name>.yaml`; return its path. `BadInput` if another recipe has the name."""
    wanted = recipe_from_flags(flags)
    path = folder / f"{wanted.name}.yaml"
    there = next((file for file in (path, path.with_suffix(".yml")) if file.exists()), None)
    if there:
        if recipe_from_file(there, elsewhere=True).spec != wanted.spec:
            raise BadInput("another recipe with this name exists", place=in_file(there), remedy="Change that one.")
        return there
    write_atomically(path, recipe_text(flags))
    try:
        right = recipe_from_file(path, elsewhere=True).spec == wanted.spec
    except BadInput:
        right = False
    if not right:
        path.unlink()
        raise Bug(f"{path} does not match the flags")
    return path


def _quoted(value: object) -> str:
    """Return JSON, which is YAML but for some characters that YAML takes for the end of a line."""
    text = json.dumps(value, ensure_ascii=False)
    return _BREAKS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def pin(recipe: Recipe, commit: str, *, adapter: bool = False) -> bool:
    """Write a commit into a recipe's file as its revision, or its adapter's, and leave all else; tells if it changed.

    `recipe` is as the file has it now.
    """
    key = "adapter_revision" if adapter else "revision"
    folder = recipe.adapter_folder if adapter else recipe.source_folder
    if getattr(recipe.spec, key) == commit or folder is not None:
        return False
    path = Path(recipe.place).resolve()  # a link stays a link
    text = _pinned(path.read_bytes().decode("utf-8"), recipe, commit, key)
    if text is None:
        raise BadInput(
            "the commit cannot be written into this recipe",
            place=recipe.place_of("adapter" if adapter else "source"),
            key=key,
            remedy=f"Add it yourself: {key}: {commit}",
        )
    write_atomically(path, text)
    return True


def _pinned(text: str, recipe: Recipe, commit: str, key: str) -> str | None:
    """Return the text of a recipe with a commit; None where it would say anything else than before."""
    value = f"'{commit}'" if _NUMBER.fullmatch(commit) else commit
    with TemporaryFolder("recipe-") as folder:
        aside = Path(folder, Path(recipe.place).name)
        try:
            changed = with_value(text, key, value, after=_AFTER[key])
            aside.write_bytes(changed.encode())
            spec = recipe_from_file(aside, elsewhere=True).spec
        except (BadInput, YAMLError, KeyError):
            return None
    return changed if spec == recipe.spec.model_copy(update={key: commit}) else None
