"""Find recipes whose source changed since they were pinned, and cards whose converter has a newer version."""

from __future__ import annotations

import contextlib
import os
import re
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from mlx_publish.converters import CONVERTERS
from mlx_publish.errors import BadInput, SurroundingsError
from mlx_publish.github.wanted import known_recipes
from mlx_publish.hub.repo import RepoFiles, resolve
from mlx_publish.model.card import SourceCard, read_card
from mlx_publish.model.draft import CONFIG
from mlx_publish.model.files import SMALL, FileEntry, ModelFiles
from mlx_publish.model.select import PROCESSOR, is_legal, is_tokenizer
from mlx_publish.model.template_places import JINJA, LEGACY
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.text import bounds
from mlx_publish.text.json_text import parse, read

_PACKAGES = tuple(converter.distribution for converter in CONVERTERS)
"""Packages whose newer versions may convert differently."""
_PYPI = "https://pypi.org"
_SECONDS = 30
_RELEASE = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True)
class Moved:
    """One row: a source or a converter of a recipe, as pinned and as it is now."""

    recipe: str
    of: str
    """A repo of the Hub, or a package."""
    before: str
    now: str
    what: str
    kind: Literal["source", "converter", "broken"]
    """`broken`: a recipe or a source that cannot be read."""


@dataclass(frozen=True)
class Skipped:
    """A recipe whose source was not looked at, and why."""

    recipe: str
    why: str


@dataclass(frozen=True)
class Survey:
    """What was looked at, and what was found."""

    recipes: int
    at_head: tuple[str, ...]
    """Recipes whose source is at its pinned commit."""
    moved: tuple[Moved, ...]
    skipped: tuple[Skipped, ...]
    converters: int
    """Recipes whose reviewed cards name the version of a converter."""

    @property
    def summary(self) -> str:
        """Return what was looked at in a line."""
        counts = {
            "source moved": len({row.recipe for row in self.moved if row.kind == "source"}),
            "cannot be read": len({row.recipe for row in self.moved if row.kind == "broken"}),
            "skipped": len(self.skipped),
        }
        at_head = len(self.at_head)
        parts = [f"{at_head} source{'' if at_head == 1 else 's'} at {'its' if at_head == 1 else 'their'} head"]
        parts += [f"{count} {what}" for what, count in counts.items() if count]
        older = len({row.recipe for row in self.moved if row.kind == "converter"})
        if self.converters:
            parts.append(f"cards of {self.converters}: {older or 'none'} made by an older converter")
        return f"checked {self.recipes} recipe{'' if self.recipes == 1 else 's'}: {', '.join(parts)}"


def survey(recipes: Path, cards: Path) -> Survey:
    """Look at the source of every recipe in a folder that is pinned to a commit, and at its cards in `cards`.

    A source that is gone, or a recipe that is wrong, is a row, too. Raises `BadInput` if there is nothing to look
    at, and `SurroundingsError` if the Hub does not answer.
    """
    known = known_recipes(recipes)
    if not known:
        raise BadInput(
            f"no recipes in {recipes}{'' if recipes.is_dir() else ', which is not a folder'}",
            place="--recipes",
            remedy="Run it at the root of your repo of recipes, or name their folder: mlx-publish drift --recipes DIR",
        )
    # Asked once, however many recipes there are.
    newest = cache(newest_version)
    at_head: list[str] = []
    moved: list[Moved] = []
    skipped: list[Skipped] = []
    converters = 0
    for name, path in known.items():
        try:
            recipe = recipe_from_file(path, elsewhere=True)
        except BadInput as error:
            moved.append(Moved(name, str(path), "", "", f"the recipe is not valid: {error.message}", "broken"))
            continue
        if why := _not_pinned(recipe, path):
            skipped.append(Skipped(name, why))
        elif rows := list(filter(None, (_source(name, *pinned) for pinned in _pinned(recipe)))):
            moved += rows
        else:
            at_head.append(name)
        used = list(_tools_of(recipe, cards))
        converters += bool(used)
        moved += _converters(name, used, newest)
    if not at_head and not moved and not converters:
        raise BadInput(
            f"nothing to check: {'; '.join(f'{entry.recipe} {entry.why}' for entry in skipped)}",
            place=str(recipes),
            remedy=f"Pin a recipe: mlx-publish pin {recipes / '<name>.yaml'}",
        )
    return Survey(len(known), tuple(at_head), tuple(moved), tuple(skipped), converters)


def _pinned(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yield repo and commit of the source, and of an adapter that is pinned, too."""
    yield recipe.spec.source, str(recipe.spec.revision)
    if recipe.spec.adapter and is_commit(recipe.spec.adapter_revision):
        yield recipe.spec.adapter, str(recipe.spec.adapter_revision)


def _not_pinned(recipe: Recipe, path: Path) -> str:
    """Return why a source cannot have moved since its recipe was pinned; empty if it can."""
    if recipe.source_folder is not None:
        return "has a local folder as its source"
    if not is_commit(recipe.spec.revision):
        return f"is not pinned to a commit (mlx-publish pin {path})"
    return ""


def _source(name: str, repo: str, pinned: str) -> Moved | None:
    """Return what changed since the pinned commit; None if it is the head."""
    try:
        head = resolve(repo, None)
    except BadInput as error:
        return Moved(name, repo, pinned, "", error.message, "broken")
    if head == pinned:
        return None
    changes = ", ".join(_changes(RepoFiles(repo, pinned), RepoFiles(repo, head)))
    return Moved(name, repo, pinned, head, changes, "source")


def _changes(before: ModelFiles, now: ModelFiles) -> list[str]:
    """Return which parts of a model changed, most important first."""
    try:
        entries, later = before.entries, now.entries
    except BadInput as error:
        return [f"{error.message}, so the changes are not known"]
    others = {path for path in {*entries, *later} if _digest(entries.get(path)) != _digest(later.get(path))}
    card, after = (_quietly(read_card, files) if "README.md" in others else None for files in (before, now))
    changes = {
        "weights": any(path.endswith((".safetensors", ".safetensors.index.json")) for path in others),
        "chat template": bool(others & {JINJA, LEGACY, CONFIG}) and _templates(before) != _templates(now),
        "tokenizer": any(is_tokenizer(path) and path not in (JINJA, LEGACY, CONFIG) for path in others),
        "config": bool(others & {"config.json", "generation_config.json"}),
        "processor": bool(others & PROCESSOR),
        "licence": any(is_legal(path) for path in others) or _of(card, "license") != _of(after, "license"),
        "base model": _of(card, "base_model") != _of(after, "base_model"),
    }
    return [what for what, moved in changes.items() if moved] or ["nothing that affects the conversion"]


def _digest(entry: FileEntry | None) -> str | None:
    return (entry.sha256 or entry.git_sha1) if entry else None


def _templates(files: ModelFiles) -> list[object]:
    """Return the chat templates that clients may read, from all places."""
    templates: list[object] = [_quietly(files.read, path) for path in (JINJA, LEGACY) if path in files.entries]
    entry = files.entries.get(CONFIG)
    if entry is not None and entry.size <= SMALL:
        with contextlib.suppress(ValueError, AttributeError, BadInput):
            templates.append(parse(files.read(CONFIG), bounds.CONFIG).get("chat_template"))
    return templates


def _quietly(read: Callable[[Any], Any], what: object) -> Any:
    """Return None for a file that may not be read, as of a gated source."""
    try:
        return read(what)
    except BadInput:
        return None


def _of(card: SourceCard | None, key: str) -> tuple[str, ...]:
    return card.texts(key) if card else ()


def _tools_of(recipe: Recipe, cards: Path) -> Iterator[Mapping[str, str]]:
    """Yield the versions of tools that the evidence of each reviewed card names."""
    for destination in recipe.destinations.values():
        if tools := _tools(cards / destination.reviewed_as / "evidence.json"):
            yield tools


def _converters(name: str, used: Sequence[Mapping[str, str]], newest: Callable[[str], str]) -> Iterator[Moved]:
    """Yield one row for all variants of a recipe whose evidence names an older minor version."""
    for package in _PACKAGES:
        versions = sorted({tools[package] for tools in used if package in tools}, key=_minor)
        if versions and _minor(versions[0]) < _minor(newest(package)):
            yield Moved(name, package, versions[0], newest(package), "a newer converter", "converter")


def _tools(path: Path) -> Mapping[str, str]:
    try:
        tools = read(path, bounds.EVIDENCE)["tools"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {str(key): str(value) for key, value in tools.items()} if isinstance(tools, dict) else {}


def _minor(version: str) -> tuple[int, int]:
    match = _RELEASE.match(version)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def newest_version(package: str) -> str:
    """Return a package's newest version on PyPI, or at MLX_PUBLISH_PYPI. `SurroundingsError` if that fails."""
    address = f"{os.environ.get('MLX_PUBLISH_PYPI') or _PYPI}/pypi/{package}/json"
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS) as answer:  # noqa: S310  the operator's address
            return str(parse(answer.read(bounds.ANSWER.most_bytes + 1), bounds.ANSWER)["info"]["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SurroundingsError(f"{address}: {error}", remedy="Run it again later.") from error
