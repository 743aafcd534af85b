"""The pull request with the cards of a recipe."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from mlx_publish.card.changes import body
from mlx_publish.errors import BadInput
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.github.pull_request import branch_of, evidence_before, propose
from mlx_publish.github.runner import Runner
from mlx_publish.hooks.faults import Options, tell
from mlx_publish.hooks.mlx_card import LARGEST, look
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.recipes.write import pin
from mlx_publish.reviewed.cards import FILES, card_folder
from mlx_publish.text.console import Console


def review(file: Path, cards: Path, base: str, callback: str, console: Console, runner: Runner) -> int:
    """Open or update the pull request with the cards of a recipe that lie below `cards`, and the recipe; return 0.

    The recipe is pinned to the commit that was converted, where nothing in it is so far.
    """
    recipe = recipe_from_file(file, elsewhere=True)
    folders = [card_folder(recipe, variant, cards) for variant in recipe.variants]
    there = [folder for folder in folders if (folder / "evidence.json").is_file()]
    if not there:
        raise BadInput(
            f"there is no card of {recipe.name} in {cards}",
            place="--cards",
            remedy=f"Run 'mlx-publish card --recipe {file} --into {cards}' first.",
        )
    root = Path.cwd()
    paths = [_in_tree(folder, root) for folder in there]
    for path in paths:
        _judge_files(root / path)
    files = [Path(path, name) for path in paths for name in FILES if (root / path / name).is_file()]
    if faults := list(look(files, Options(recipes=file.parent))):
        tell(faults)
        return 1
    compared = [
        (path, Evidence.read(root / path / "evidence.json"), evidence_before(root, base, path)) for path in paths
    ]
    commit = compared[0][1].source.identity
    if is_commit(commit) and not is_commit(recipe.spec.revision):
        pin(recipe, commit)
    text = body(recipe.name, compared, web=runner.files_address(branch_of(recipe.name)), callback=callback)
    address = propose(recipe.name, [*paths, _in_tree(file, root)], text, base, root, runner)
    console.say(f"pull request: {address}" if address else "nothing changed since the last review")
    return 0


def _in_tree(path: Path, root: Path) -> PurePosixPath:
    if not path.resolve().is_relative_to(root.resolve()):
        raise BadInput(f"{path} is not in the work tree", place="--cards", remedy="Run it at the root of the repo.")
    return PurePosixPath(path.resolve().relative_to(root.resolve()).as_posix())


def _judge_files(folder: Path) -> None:
    """Raise `BadInput` where what comes from the machine that ran a model is no part of a card."""
    for path in folder.iterdir():
        if path.name not in FILES or path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST:
            raise BadInput(
                "is no part of a card", place=str(path), remedy=f"A card's folder has {', '.join(FILES)}, no links."
            )
