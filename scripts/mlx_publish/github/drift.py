"""Find recipes whose source moved since they were pinned, and cards whose converter has a newer version."""

from __future__ import annotations

import contextlib
import os
import re
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mlx_publish.errors import BadInput, SurroundingsError
from mlx_publish.github.programs import gh
from mlx_publish.github.wanted import known_recipes
from mlx_publish.hub.repo import RepoFiles, resolve
from mlx_publish.model.card import SourceCard, read_card
from mlx_publish.model.draft import CONFIG
from mlx_publish.model.files import SMALL, FileEntry, ModelFiles
from mlx_publish.model.select import is_legal, is_tokenizer
from mlx_publish.model.template_places import JINJA, LEGACY
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.text import bounds, markdown
from mlx_publish.text.json_text import parse, read
from mlx_publish.text.markdown import cell

TITLE = "Sources and converters that moved"
LABEL = "mlx-publish-drift"
CONVERTERS = ("mlx-lm",)
"""Packages whose newer versions may convert otherwise."""
_PYPI = "https://pypi.org"
_SECONDS = 30
_RELEASE = re.compile(r"(\d+)\.(\d+)")


@dataclass(frozen=True)
class Moved:
    """One row: a source or a converter of a recipe, before and now."""

    recipe: str
    of: str
    """A repo of the Hub, or a package."""
    before: str
    now: str
    what: str


def drift(recipes: Path, cards: Path) -> Iterator[Moved]:
    """Yield what moved of every recipe of a folder that is pinned to a commit, and of its cards in `cards`.

    A source that is gone, or a recipe that is wrong, is a row, too. Raises `SurroundingsError` where the Hub does not
    answer.
    """
    # Asked once, however many recipes there are.
    newest = cache(newest_version)
    for name, path in known_recipes(recipes).items():
        try:
            recipe = recipe_from_file(path, elsewhere=True)
        except BadInput as error:
            yield Moved(name, str(path), "", "", f"the recipe is wrong: {error.message}")
            continue
        if recipe.source_folder is None and is_commit(recipe.spec.revision):
            yield from _source(name, recipe.spec.source, str(recipe.spec.revision))
        yield from _converters(name, recipe, cards, newest)


def _source(name: str, repo: str, pinned: str) -> Iterator[Moved]:
    try:
        head = resolve(repo, None)
    except BadInput as error:
        yield Moved(name, repo, pinned, "", error.message)
        return
    if head != pinned:
        yield Moved(name, repo, pinned, head, ", ".join(_changes(RepoFiles(repo, pinned), RepoFiles(repo, head))))


def _changes(before: ModelFiles, now: ModelFiles) -> list[str]:
    """Return which parts of a model changed, most important first."""
    try:
        entries, later = before.entries, now.entries
    except BadInput as error:
        return [f"{error.message}, so what changed is not known"]
    others = {path for path in {*entries, *later} if _digest(entries.get(path)) != _digest(later.get(path))}
    card, after = (_quietly(read_card, files) if "README.md" in others else None for files in (before, now))
    changes = {
        "weights": any(path.endswith((".safetensors", ".safetensors.index.json")) for path in others),
        "chat template": bool(others & {JINJA, LEGACY, CONFIG}) and _templates(before) != _templates(now),
        "tokenizer": any(is_tokenizer(path) and path not in (JINJA, LEGACY, CONFIG) for path in others),
        "config": bool(others & {"config.json", "generation_config.json"}),
        "licence": any(is_legal(path) for path in others) or _of(card, "license") != _of(after, "license"),
        "base model": _of(card, "base_model") != _of(after, "base_model"),
    }
    return [what for what, moved in changes.items() if moved] or ["nothing that is converted"]


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


def _converters(name: str, recipe: Recipe, cards: Path, newest: Callable[[str], str]) -> Iterator[Moved]:
    """Yield one row for all variants of a recipe whose evidence names an older minor version."""
    folders = [cards / destination.reviewed_as for destination in recipe.destinations.values()]
    used = [tools for folder in folders if (tools := _tools(folder / "evidence.json"))]
    for package in CONVERTERS:
        versions = sorted({tools[package] for tools in used if package in tools}, key=_minor)
        if versions and _minor(versions[0]) < _minor(newest(package)):
            yield Moved(name, package, versions[0], newest(package), "a newer converter")


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
    """Return a package's newest version on PyPI, or at MLX_PUBLISH_PYPI. `SurroundingsError` where that fails."""
    address = f"{os.environ.get('MLX_PUBLISH_PYPI') or _PYPI}/pypi/{package}/json"
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS) as answer:  # noqa: S310  the operator's address
            return str(parse(answer.read(bounds.ANSWER.most_bytes + 1), bounds.ANSWER)["info"]["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SurroundingsError(f"{address}: {error}", remedy="Run it again later.") from error


def table(moved: list[Moved]) -> str:
    """Return Markdown for the issue, the step summary and the terminal."""
    if not moved:
        return "Nothing moved: every recipe is pinned to the head of its source.\n"
    rows = [
        [cell(text) for text in (entry.recipe, entry.of, entry.before[:12], entry.now[:12], entry.what)]
        for entry in moved
    ]
    return markdown.table(("recipe", "source or tool", "was", "is", "what moved"), rows) + "\n"


def issue_about(moved: list[Moved], root: Path) -> str:
    """Open one issue, or update or close the open one. Return its address, empty where there is none."""
    # By its label, which no stranger can give to an issue of his own.
    asked = ("--label", LABEL, "--state", "open", "--json", "number,url,body")
    try:
        listed = parse(gh(root, "issue", "list", *asked) or "[]", bounds.ANSWER)
    except ValueError as error:
        raise SurroundingsError(f"gh answered no JSON: {error}", remedy="Update gh.") from error
    text = table(moved)
    if not listed:
        if not moved:
            return ""
        gh(root, "label", "create", LABEL, "--force", "--description", "What mlx-publish drift found")
        return gh(root, "issue", "create", "--title", TITLE, "--label", LABEL, "--body-file", "-", text=text).strip()
    there = listed[0]
    number, address = str(there["number"]), str(there["url"])
    if not moved:
        gh(root, "issue", "close", number, "--comment", text.strip())
    elif str(there.get("body", "")).replace("\r\n", "\n").strip() != text.strip():
        gh(root, "issue", "edit", number, "--body-file", "-", text=text)
    return address
