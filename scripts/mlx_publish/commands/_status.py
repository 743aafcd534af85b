"""The command: a row for each variant, then what is on the disk and how to free it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mlx_publish.commands._arguments import print_json
from mlx_publish.commands._columns import Column, print_columns
from mlx_publish.commands._disk import HubCache, folder_bytes, hub_cache
from mlx_publish.commands._known import RecipeFile, no_recipes, recipe_files, unknown
from mlx_publish.commands._progress_of import VariantState, state_of
from mlx_publish.hub.stream_folder import StreamFolder
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.text.console import Console
from mlx_publish.text.harmless import one_line
from mlx_publish.text.numbers import significant, size
from mlx_publish.work import Work

_COLUMNS = (
    Column("variant"),
    Column("passed", 5),
    Column("verdict"),
    Column("closeness", 1),
    Column("mean KLD", 4, right=True),
    Column("weights", 2, right=True),
    Column("kept", 3),
    Column("tag", 6),
)


@dataclass(frozen=True)
class RecipeState:
    """A recipe, its variants, and the bytes of its work folder."""

    name: str
    file: str
    """Empty for one that was given by flags."""
    source: str
    """The repo; empty for a folder."""
    variants: tuple[VariantState, ...]
    work_bytes: int
    faults: tuple[str, ...] = ()
    streaming: tuple[int, int] | None = None
    """Weight files that an interrupted conversion straight from the Hub has converted, and how many there are."""


def status(options: argparse.Namespace, console: Console) -> int:
    """Print the state of recipes and what they hold on this disk; return 0."""
    states = _chosen(options.recipe, options.recipes, options.work)
    if not states:
        raise no_recipes(options.recipes)
    for state in states:
        _print(state, console)
    cache = hub_cache()
    models = cache.models(state.source for state in states if state.source)
    _print_disk(states, cache, models, options.work, console)
    record = {
        "recipes": [_record(state) for state in states],
        "work": {"folder": str(options.work), "bytes": sum(state.work_bytes for state in states)},
        "hub_cache": {"folder": cache.folder, "bytes": cache.bytes, "models": models},
    }
    print_json(options, record)
    return 0


def _chosen(asked: Sequence[str], recipes: Path, root: Path) -> tuple[RecipeState, ...]:
    """Return the recipes asked for by name or file, else all of the folder and of the work folder."""
    files = recipe_files(recipes)
    paths = {file.path.resolve() for file in files}
    # One that is named need not be in the folder.
    named = [path for text in asked if (path := Path(text)).is_file() and path.resolve() not in paths]
    files += tuple(file for path in named for file in recipe_files(path.parent) if file.path == path)
    states = tuple(_state(file, root) for file in files)
    names = {state.name for state in states}
    states += tuple(_state_of_flags(root, name) for name in _in_work(root) if name not in names)
    if not asked:
        return states
    return tuple(_find(text, states) for text in dict.fromkeys(asked))


def _find(text: str, states: Sequence[RecipeState]) -> RecipeState:
    same = [s for s in states if s.name == text or (s.file and Path(s.file).resolve() == Path(text).resolve())]
    if not same:
        raise unknown(text, [state.name for state in states])
    return same[0]


def _in_work(root: Path) -> list[str]:
    return sorted({path.parent.parent.name for path in root.glob("*/*/inspect.json")})


def _state(file: RecipeFile, root: Path) -> RecipeState:
    work, recipe = Work(root, file.name), file.recipe
    labels = [variant.label for variant in recipe.variants] if recipe else _labels(work)
    return RecipeState(
        file.name,
        str(file.path),
        _repo(recipe),
        tuple(state_of(work, label) for label in labels),
        folder_bytes(work.folder),
        tuple(map(str, file.faults)),
        _streaming(work),
    )


def _streaming(work: Work) -> tuple[int, int] | None:
    """Return how far an interrupted conversion straight from the Hub is; None if there is none."""
    folder = StreamFolder(work.stream)
    if not folder.exists:
        return None
    folder.look()
    return len(folder.finished), sum(1 for path in (work.stream / "shards").rglob("*") if not path.is_dir())


def _state_of_flags(root: Path, name: str) -> RecipeState:
    work = Work(root, name)
    labels = _labels(work)
    report = work.report(labels[0], "inspect") if labels else None
    source = report.result.get("source") if report else None
    repo = source.get("repo") if isinstance(source, dict) else None
    states = tuple(state_of(work, label) for label in labels)
    return RecipeState(name, "", str(repo or ""), states, folder_bytes(work.folder), streaming=_streaming(work))


def _labels(work: Work) -> list[str]:
    return sorted(path.parent.name for path in work.folder.glob("*/inspect.json"))


def _repo(recipe: Recipe | None) -> str:
    return "" if recipe is None or recipe.source_folder else recipe.spec.source


def _print(state: RecipeState, console: Console) -> None:
    console.heading(state.name, state.file or "(from flags, no recipe file)")
    for fault in state.faults:
        console.say(f"wrong: {fault}")
    if state.variants:
        print_columns(console, _COLUMNS, [_row(variant) for variant in state.variants])
    for variant in state.variants:
        if variant.cause:
            console.say(f"{variant.label}: {one_line(variant.cause, 300)}")
        if variant.published:
            console.say(f"{variant.label} is at {_near(variant.published)}")
    if state.streaming:
        done, total = state.streaming
        words = f"{done} of {total} weight files are converted; the same command goes on"
        console.say(f"interrupted conversion straight from the Hub: {words}")
    if state.work_bytes:
        console.say(f"work folder: {size(state.work_bytes)}")


def _row(variant: VariantState) -> tuple[str, ...]:
    verdict = {"pass": "published" if variant.published else "passed", "": "not run"}.get(
        variant.verdict, variant.verdict
    )
    return (
        variant.label,
        variant.stage or "-",
        verdict,
        variant.closeness or "-",
        _kld(variant),
        "-" if variant.weight_bytes is None else size(variant.weight_bytes),
        "-" if variant.weight_bytes is None else "yes" if variant.has_weights else "freed",
        variant.tag or "-",
    )


def _kld(variant: VariantState) -> str:
    """Return the mean KLD, with that behind pictures of a model that sees."""
    if variant.mean_kld is None:
        return "-"
    seen = "" if variant.pictures_kld is None else f" (pictures {significant(variant.pictures_kld)})"
    return f"{significant(variant.mean_kld)}{seen}"


def _near(place: str) -> str:
    """Return a folder as it is shortest from here."""
    return min(place, os.path.relpath(place), key=len) if Path(place).is_absolute() else place


def _print_disk(
    states: Sequence[RecipeState], cache: HubCache, models: dict[str, int], root: Path, console: Console
) -> None:
    console.heading("disk", "")
    for line in _disk_lines(states, cache, models, root):
        console.say(line)


def _disk_lines(states: Sequence[RecipeState], cache: HubCache, models: dict[str, int], root: Path) -> Iterator[str]:
    held = sum(state.work_bytes for state in states)
    yield f"work folder {root}: {size(held)}"
    for repo, count in models.items():
        yield f"Hub cache, {one_line(repo)}: {size(count)}"
    yield f"Hub cache in total: {size(cache.bytes)} ({cache.folder})"
    if held or models:
        flag = "" if root == Path("work") else f" --work {root}"
        cached = " --cache" if models else ""
        yield f"To see what can be freed: mlx-publish clean{cached}{flag} --older-than 0 --dry-run"


def _record(state: RecipeState) -> dict[str, object]:
    variants = [
        {key: value for key, value in asdict(variant).items() if key != "pictures_kld" or value is not None}
        | {"closeness": variant.closeness or None}
        for variant in state.variants
    ]
    return {**asdict(state), "variants": variants, "faults": list(state.faults)}
