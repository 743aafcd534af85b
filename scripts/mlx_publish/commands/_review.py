"""The pull request with the cards of a recipe."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from mlx_publish.card.changes import Proposed, Review, body, title
from mlx_publish.errors import BadInput, Place
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.evidence.quantization import PLAN_FILE
from mlx_publish.github.pull_request import (
    Target,
    branch_of,
    evidence_before,
    find_target,
    has_changes,
    propose,
    worktree,
)
from mlx_publish.github.remote import REMOTE, known_remote, repo_root, web_address
from mlx_publish.github.runner import Runner
from mlx_publish.hooks.faults import Options, tell
from mlx_publish.hooks.mlx_card import LARGEST, look
from mlx_publish.recipes.patterns import is_commit
from mlx_publish.recipes.read import recipe_from_file
from mlx_publish.recipes.recipe import Recipe
from mlx_publish.recipes.write import pin
from mlx_publish.reviewed.cards import FILES, card_folder
from mlx_publish.text.bounds import PLAN_BYTES
from mlx_publish.text.console import Console
from mlx_publish.text.harmless import harmless, plain, shown_json


@dataclass(frozen=True)
class Asked:
    """What a review was asked for."""

    file: Path
    """The recipe."""
    cards: Path
    base: str = ""
    """The branch that the pull request goes to; the remote's default branch if empty."""
    callback: str = ""
    only_print: bool = False
    json: bool = False


@dataclass(frozen=True)
class Brought:
    """The recipe and its cards, as they lie in the checkout."""

    recipe: Recipe
    root: Path
    file: PurePosixPath
    """The recipe, within the checkout."""
    folders: Sequence[PurePosixPath]
    evidence: Sequence[Evidence] = field(default=())
    without: Sequence[str] = ()
    """Variants of the recipe that have no card."""
    plans: Sequence[PurePosixPath] = ()
    """The plan files that the recipe pins, within the checkout."""

    @property
    def commit(self) -> str:
        """The commit that the recipe has to be pinned to; empty if it is pinned, or where there is none."""
        commit = self.evidence[0].source.identity
        return commit if is_commit(commit) and not is_commit(self.recipe.spec.revision) else ""

    @property
    def paths(self) -> list[PurePosixPath]:
        """All that the pull request brings."""
        return [*self.folders, *self.files]

    @property
    def files(self) -> list[PurePosixPath]:
        """The recipe, and what it needs beside it to be followed."""
        return [self.file, *self.plans]

    def proposed(self, commit: str) -> list[Proposed]:
        """Return the cards, each beside the evidence of a commit."""
        pairs = zip(self.folders, self.evidence, strict=True)
        return [
            Proposed(path, now, evidence_before(self.root, commit, path) if commit else None) for path, now in pairs
        ]


def review(asked: Asked, console: Console, runner: Runner) -> int:
    """Open or update the pull request with the cards of a recipe, or print it; return 1 where a card is wrong.

    The recipe in it is pinned to the commit that was converted. The checkout stays as it is.
    """
    recipe = recipe_from_file(asked.file, elsewhere=True)
    folders = [card_folder(recipe, variant, asked.cards) for variant in recipe.variants]
    there = [folder for folder in folders if (folder / "evidence.json").is_file()]
    if not there:
        raise BadInput(
            f"no card of {recipe.name} in {asked.cards}",
            place="--cards",
            remedy=f"Run: mlx-publish card --recipe {asked.file} --into {asked.cards}",
        )
    root = repo_root(Path.cwd())
    brought = Brought(
        recipe,
        root,
        _in_repo(asked.file, root, "--recipe"),
        [_in_repo(path, root) for path in there],
        plans=[_in_repo(path, root, "plan") for path in recipe.plans.values() if path.is_file()],
    )
    for path in brought.folders:
        _judge_files(root / path)
    if faults := list(look(_files(there), Options(recipes=asked.file.parent))):
        if asked.json:
            print(shown_json({"verdict": "refused", "faults": [str(fault) for fault in faults]}))
        else:
            tell(faults)
        return 1
    without = [v.label for v, folder in zip(recipe.variants, folders, strict=True) if folder not in there]
    evidence = [Evidence.read(folder / "evidence.json") for folder in there]
    brought = replace(brought, evidence=evidence, without=without)
    if asked.only_print:
        return _print(asked, brought, runner)
    return _open(asked, brought, console, runner)


def _print(asked: Asked, brought: Brought, runner: Runner) -> int:
    """Print title and text; of the remote only what was fetched last is known."""
    remote = known_remote(brought.root)
    base = asked.base or remote.default or "main"
    cards = brought.proposed(remote.branches.get(base, ""))
    review = Review(
        _web(brought, runner), base, remote.next_tag(asked.file.stem), brought.commit, asked.callback, brought.without
    )
    head, text = title(brought.recipe.name, cards), body(cards, review)
    if asked.json:
        _print_json(review, branch_of(brought.recipe.name), title=head, body=text)
    else:
        print(harmless(plain(f"{head}\n\n{text}")), end="")
    return 0


def _open(asked: Asked, brought: Brought, console: Console, runner: Runner) -> int:
    target = find_target(brought.root, brought.recipe.name, asked.base)
    with worktree(target) as tree:
        _judge_places(brought, tree, target.base)
        _copy(brought, tree)
        if brought.commit:
            pin(recipe_from_file(tree / brought.file, elsewhere=True), brought.commit)
        _judge_on_base(brought, target, tree)
        cards = brought.proposed(target.base_commit)
        tag = target.remote.next_tag(asked.file.stem)
        review = Review(_web(brought, runner), target.base, tag, brought.commit, asked.callback, brought.without)
        changed = has_changes(tree, brought.paths)
        head, text = title(brought.recipe.name, cards), body(cards, review)
        address = propose(target, tree, head, text, runner) if changed else target.address
    if changed and brought.commit:
        console.say(f"the recipe in the pull request is pinned to {brought.commit}; your file is unchanged")
    if changed:
        console.say(f"pull request: {address}")
        console.say("Read the cards in it and merge it; then publish what was merged:")
        console.next(review.publish.replace("\n", " && "))
    else:
        console.say(f"nothing to review: {REMOTE}/{target.base} has these cards")
    if asked.json:
        _print_json(review, target.branch, title=head, body=text, pull_request=address)
    return 0


def _print_json(review: Review, branch: str, **more: str) -> None:
    ends = {"branch": branch, "base": review.base, "tag": review.tag, "pinned": review.pinned}
    print(shown_json({**more, **ends}))


def _web(brought: Brought, runner: Runner) -> str:
    """Return where the files of the pull request's branch are shown."""
    branch = branch_of(brought.recipe.name)
    if address := runner.files_address(branch):
        return address
    repo = web_address(brought.root)
    return f"{repo}/blob/{branch}/" if repo else ""


def _judge_places(brought: Brought, tree: Path, base: str) -> None:
    """Raise `BadInput` where the base branch has a link, a file or a folder that is in the way."""
    for path in (place for own in brought.paths for place in (own, *own.parents[:-1])):
        wanted, there = "file" if path in brought.files else "folder", _kind(tree / path)
        if there not in ("nothing", wanted):
            raise BadInput(
                f"is a {there} on {REMOTE}/{base}, and a {wanted} in your checkout",
                place=str(path),
                remedy=f"Remove it from {base} first, or name another branch by --base.",
            )


def _kind(path: Path) -> str:
    if path.is_symlink():
        return "link"
    return "folder" if path.is_dir() else "file" if path.exists() else "nothing"


def _copy(brought: Brought, tree: Path) -> None:
    """Put recipe, plans and cards into a worktree, each card with no other files than it has here."""
    for path in brought.paths:
        here, there = brought.root / path, tree / path
        if here.is_dir():
            shutil.rmtree(there, ignore_errors=True)
            shutil.copytree(here, there)
        else:
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(here, there)


def _judge_on_base(brought: Brought, target: Target, tree: Path) -> None:
    """Raise `BadInput` if the cards fit this checkout, but not recipe and templates as they will be merged."""
    folders = [tree / path for path in brought.folders]
    fault = next(iter(look(_files(folders), Options(recipes=(tree / brought.file).parent))), None)
    if fault is not None:
        name = fault.place.name.removeprefix(f"{tree}/")
        raise BadInput(
            f"{fault.message} (on top of {REMOTE}/{target.base}, where it fits in your checkout)",
            place=Place(name, fault.place.line),
            key=fault.key,
            remedy=f"Push templates and policy to {target.base} first, or name another branch by --base.",
        )


def _files(folders: Sequence[Path]) -> list[Path]:
    return [folder / name for folder in folders for name in FILES if (folder / name).is_file()]


def _in_repo(path: Path, root: Path, flag: str = "--cards") -> PurePosixPath:
    if not path.resolve().is_relative_to(root.resolve()):
        raise BadInput(f"{path} is outside of the repository {root}", place=flag, remedy="Move it into the repository.")
    return PurePosixPath(path.resolve().relative_to(root.resolve()).as_posix())


def _judge_files(folder: Path) -> None:
    """Raise `BadInput` for a file that a machine which ran a model put beside a card."""
    for path in folder.iterdir():
        most = PLAN_BYTES if path.name == PLAN_FILE else LARGEST
        if path.name not in FILES or path.is_symlink() or not path.is_file() or path.stat().st_size > most:
            raise BadInput(
                "does not belong to a card", place=str(path), remedy=f"Keep only {', '.join(FILES)} there, no links."
            )
