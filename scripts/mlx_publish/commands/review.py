"""The commands around the stages: `plan`, and those that bring cards before people."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from mlx_publish.card.changes import body
from mlx_publish.commands.review_cards import review_cards
from mlx_publish.errors import BadInput
from mlx_publish.github import output
from mlx_publish.github.drift import drift, table
from mlx_publish.github.drift import tell as tell_issue
from mlx_publish.github.plan import Settings, print_plan
from mlx_publish.github.pull_request import branch_of, evidence_before, propose, web_address
from mlx_publish.github.request import Request
from mlx_publish.hooks.card import LARGEST, look
from mlx_publish.hooks.faults import Options, tell
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.recipes.write import pin, write_recipe
from mlx_publish.stages.reviewed import FILES, card_folder
from mlx_publish.text.console import Console
from mlx_publish.text.files import read_json


def command(options: argparse.Namespace, given: Mapping[str, str], keys: Iterable[str], console: Console) -> int:
    """Run one of them; returns the exit code.

    `given` are inputs of the Action, which stand in for flags; `keys` are the flags that describe a recipe.
    """
    if options.command == "recipe":
        flags = {key: value for key in keys if (value := getattr(options, key) or given.get(key))}
        return make_recipe(_path(options.recipe, given, "recipe"), flags, options.recipes, console)
    if options.command == "plan":
        return plan(options, given)
    if options.command == "drift":
        return tell_drift(options.recipes, options.cards, console, issue=options.issue or options.from_env)
    base = options.base or given.get("base") or "main"
    if options.command == "review-cards":
        return review_cards(Path.cwd(), base, options.cards, options.recipes)
    file = _path(options.recipe, given, "recipe")
    if file is None:
        raise BadInput("no recipe is given", place="--recipe", remedy="Name its file.")
    return review(file, options.cards, base, options.callback or given.get("callback") or "", console)


def plan(options: argparse.Namespace, given: Mapping[str, str]) -> int:
    """Print the plan for an event; of the inputs of the Action those count that a request has."""
    asked = {key: value for key, value in {**given, "destination": given.get("to", "")}.items() if value}
    known = {key: value for key, value in asked.items() if key in Request.model_fields}
    print_plan(
        options.event_name, options.event, options.ref, options.recipes, given=known,
        settings=Settings.from_env(os.environ, options.cards),
    )  # fmt: skip
    return 0


def tell_drift(recipes: Path, cards: Path, console: Console, *, issue: bool) -> int:
    """Print what moved, and keep the issue about it up to date where that is asked for; returns 0."""
    moved = list(drift(recipes, cards))
    for one in moved:
        console.say(f"{one.recipe}: {one.of}: {one.what} ({one.before[:12] or '?'} → {one.now[:12] or '?'})")
    output.summarize(table(moved))
    if not moved:
        console.say("nothing moved")
    if issue and (address := tell_issue(moved, Path.cwd())):
        console.say(f"issue: {address}")
        output.write({"issue": address})
    return 0


def _path(option: Path | None, given: Mapping[str, str], key: str) -> Path | None:
    return option or (Path(given[key]) if key in given else None)


def make_recipe(file: Path | None, flags: Mapping[str, str], folder: Path, console: Console) -> int:
    """Write a recipe of the flags into `folder`, or pin the recipe `file` to `revision`, the only flag then."""
    if file is None or not file.exists():
        path = write_recipe(folder, flags)
    else:
        path = file
        others = sorted(set(flags) - {"revision"})
        if others:
            raise BadInput(
                "a recipe says this already", place=f"--{others[0].replace('_', '-')}", remedy=f"Change {file}."
            )
        if "revision" in flags:
            pin(recipe_from_file(file, elsewhere=True), flags["revision"])
    console.say(f"recipe: {path}")
    output.write({"recipe": path.as_posix()})
    return 0


def review(file: Path, cards: Path, base: str, callback: str, console: Console) -> int:
    """Open or update the pull request with the cards of a recipe that lie below `cards`, and the recipe; returns 0.

    The recipe is pinned to the commit that was converted, where nothing in it is so far.
    """
    recipe = recipe_from_file(file, elsewhere=True)
    folders = [card_folder(recipe, variant, cards) for variant in recipe.variants]
    there = [folder for folder in folders if (folder / "evidence.json").is_file()]
    if not there:
        raise BadInput(
            f"there is no card of {recipe.name} in {cards}", place="--cards",
            remedy=f"Run 'mlx-publish card --recipe {file} --into {cards}' first.",
        )  # fmt: skip
    root = Path.cwd()
    paths = [_in_tree(folder, root) for folder in there]
    for path in paths:
        _judge_files(root / path)
    files = [Path(path, name) for path in paths for name in FILES if (root / path / name).is_file()]
    if faults := list(look(files, Options(recipes=file.parent))):
        tell(faults)
        return 1
    told = [(path, read_json(root / path / "evidence.json"), evidence_before(root, base, path)) for path in paths]
    _pin(recipe, str(told[0][1]["source"]["identity"]))
    text = body(recipe.name, told, web=web_address(branch_of(recipe.name)), callback=callback)
    address = propose(recipe.name, [*paths, _in_tree(file, root)], text, base, root)
    console.say(f"pull request: {address}" if address else "nothing changed since the last review")
    return 0


def _in_tree(path: Path, root: Path) -> PurePosixPath:
    if not path.resolve().is_relative_to(root.resolve()):
        raise BadInput(f"{path} is not in the work tree", place="--cards", remedy="Run it at the root of the repo.")
    return PurePosixPath(path.resolve().relative_to(root.resolve()).as_posix())


def _judge_files(folder: Path) -> None:
    """What comes from the machine that ran a model is proposed only where it is what a card consists of."""
    for path in folder.iterdir():
        if path.name not in FILES or path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
            raise BadInput(
                "is no part of a card", place=str(path), remedy=f"A card's folder has {', '.join(FILES)}, no links."
            )


def _pin(recipe: Recipe, commit: str) -> None:
    if is_commit(commit) and not is_commit(recipe.spec.revision):
        pin(recipe, commit)
