"""review-cards: is every card that a branch changes what recipe and evidence give? Needs no secrets and no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from mlx_publish.errors import BadInput, Fault, in_file
from mlx_publish.github.changed import Changed, changed_files
from mlx_publish.github.preview import MOST, previews
from mlx_publish.github.runner import Runner
from mlx_publish.hooks import mlx_card, mlx_recipe, signature
from mlx_publish.hooks.faults import Options, tell
from mlx_publish.model.names import shown
from mlx_publish.recipes.policy import FILE as POLICY
from mlx_publish.recipes.policy import find_policy
from mlx_publish.recipes.read import recipe_paths
from mlx_publish.reviewed.cards import FILES
from mlx_publish.text.bounds import EVIDENCE
from mlx_publish.text.files import json_text
from mlx_publish.text.harmless import harmless, plain
from mlx_publish.text.json_text import parse, read, read_within
from mlx_publish.text.markdown import cell, table

_TEMPLATES = "templates"
_EVIDENCE = "evidence.json"
CARD = "README.md"
_RULES = "This branch changes the rules that it is judged by:"
_LISTED = 50
"""Faults that the summary lists."""


def review_cards(
    root: Path, base: str, cards: Path, recipes: Path, runner: Runner, say: Callable[[str], None] | None = None
) -> int:
    """Print what is wrong with the cards that differ from `base`, and show the others; return 1 where something is.

    `say` takes the name of each card that is as it should be.
    All cards are looked at where recipes, templates or the policy changed, for they are made from those. Raises
    `BadInput` where git knows no such base.
    """
    changed = changed_files(root, base)
    links = list(_links(changed, cards, recipes))
    rules = [] if links else _rules(changed, root)
    if links := links or [fault for rule in rules for fault in _link(rule)]:
        return _ended({}, links, "nothing else was looked at", runner)
    every = bool(rules) or any(change.path.parent == PurePosixPath(recipes.as_posix()) for change in changed)
    folders = _folders(changed, PurePosixPath(cards.as_posix()), root, every)
    files = [folder / name for folder in folders for name in FILES if (root / folder / name).is_file()]
    wanted = _recipes(changed, recipes, root, folders)
    before = [*_strangers(changed, cards), *mlx_recipe.look(wanted, Options(recipes=recipes))]
    of_cards = list(mlx_card.by_card(files, Options(recipes=recipes)))
    behind = [
        *signature.look(folders, root),
        *(fault for folder in folders for fault in _as_written(folder / _EVIDENCE)),
    ]
    faults = [*before, *(fault for _, fault in of_cards), *behind]
    refused = {*(folder for folder, _ in of_cards), *(Path(fault.place.name).parent for fault in faults)}
    changes = [str(rule.path) for rule in rules]
    for folder in folders if say else ():
        if say and folder not in refused:
            say(f"ok    {shown(str(folder))}")
    verdicts = {folder: folder not in refused for folder in folders}
    return _ended(verdicts, faults, f"{len(folders)} cards and {len(wanted)} recipes looked at", runner, changes)


def _ended(
    verdicts: Mapping[Path, bool], faults: Sequence[Fault], looked_at: str, runner: Runner, rules: Sequence[str] = ()
) -> int:
    """Print and summarise; `verdicts` says by the folder of a card whether it is as it should be."""
    tell(faults)
    runner.summarize(_summary(verdicts, faults, rules))
    if rules:
        print(harmless(plain(f"{_RULES} {', '.join(shown(path) for path in rules[:_LISTED])}")))
    print(f"{looked_at}, {len(faults)} problems")
    return int(bool(faults))


def _links(changed: Sequence[Changed], cards: Path, recipes: Path) -> Iterator[Fault]:
    """Yield links that a branch puts where files are read, or above them: they would lead to files of this machine."""
    for change in changed:
        path = Path(change.path)
        read = _TEMPLATES in path.parts or any(
            path.is_relative_to(place) or place.is_relative_to(path) for place in (cards, recipes, Path(POLICY))
        )
        if read:
            yield from _link(change)


def _link(change: Changed) -> Iterator[Fault]:
    if change.link and not change.removed:
        message = "is a link, and nothing is read through one"
        yield Fault(message, in_file(change.path), remedy="Put a file or folder there.")


def _rules(changed: Sequence[Changed], root: Path) -> list[Changed]:
    """Return what a branch changes of all that cards are judged by: policy, list of signers, templates.

    The branch's own are taken, for after a merge they apply; so whoever merges has to know.
    """
    try:
        policy = find_policy(root)
    except BadInput:  # the hooks say so
        policy = None
    attested = policy.spec.attested if policy else None
    signers = PurePosixPath(attested.signers) if attested and attested.signers else None
    return [
        change
        for change in changed
        if str(change.path) == POLICY
        or _TEMPLATES in change.path.parts
        or (signers is not None and (change.path == signers or change.path in signers.parents))
    ]


def _folders(changed: Sequence[Changed], cards: PurePosixPath, root: Path, every: bool) -> list[Path]:
    """Return folders of cards, as `cards/<namespace>/<name>`, relative to where the command is run."""
    folders = {change.path.parent for change in changed if change.path.parent.parent.parent == cards}
    if every:
        folders |= {
            PurePosixPath(path.parent.relative_to(root).as_posix()) for path in (root / cards).glob(f"*/*/{CARD}")
        }
    return [Path(folder) for folder in sorted(folders) if any((root / folder / name).is_file() for name in FILES)]


def _recipes(changed: Sequence[Changed], recipes: Path, root: Path, folders: Sequence[Path]) -> list[Path]:
    """Return recipes that changed, and those of the cards; all where the policy changed, for which all have to answer.

    Evidence names the recipe; where no file is called so, it may be any of them.
    """
    paths = [path.relative_to(root) if path.is_relative_to(root) else path for path in recipe_paths(root / recipes)]
    named = {_recipe_of(root / folder / _EVIDENCE) for folder in folders}
    every = any(str(change.path) == POLICY for change in changed) or bool(named - {path.stem for path in paths})
    mine = {change.path for change in changed if not change.removed}
    return [path for path in paths if every or path.stem in named or PurePosixPath(path.as_posix()) in mine]


def _recipe_of(path: Path) -> str:
    """Return the recipe that evidence names; empty where it names none, which the hook says."""
    try:
        data = read(path, EVIDENCE)
    except (OSError, ValueError):
        return ""
    name = data.get("recipe") if isinstance(data, dict) else None
    return name if isinstance(name, str) else ""


def _strangers(changed: Sequence[Changed], cards: Path) -> Iterator[Fault]:
    """Yield what does not belong where cards lie."""
    for change in changed:
        path = Path(change.path)
        if change.removed or not path.is_relative_to(cards):
            continue
        if not change.plain:
            message = "is a link, and a card consists of files"
            yield Fault(message, in_file(path), remedy="Take the files as they were made.")
        elif len(path.relative_to(cards).parts) != 3 or path.name not in FILES:
            remedy = f"{cards}/<namespace>/<name>/ has {', '.join(FILES)}, no more."
            yield Fault("does not belong here", in_file(path), remedy=remedy)


def _as_written(path: Path) -> Iterator[Fault]:
    """Yield whether evidence has another layout than it is written with, as when a key stands in it twice."""
    try:
        content = read_within(path, EVIDENCE.most_bytes)
        same = json_text(parse(content, EVIDENCE)).encode() == content
    except (OSError, ValueError):
        return  # the hook says so
    if not same:
        remedy = "Take the evidence as it was made, byte for byte."
        yield Fault("is not written as mlx-publish writes it", in_file(path), remedy=remedy)


def _summary(verdicts: Mapping[Path, bool], faults: Sequence[Fault], rules: Sequence[str]) -> str:
    lines = [f"## {'Refused' if faults else 'Fine' if verdicts else 'No card changed'}\n"]
    if rules:
        lines.append(f"**{_RULES}** {', '.join(cell(shown(path)) for path in rules[:_LISTED])}\n")
    lines += [f"- {cell(str(fault))}" for fault in faults[:_LISTED]]
    if faults[_LISTED:]:
        lines.append(f"- and {len(faults) - _LISTED} more")
    if verdicts:
        rows = [(cell(str(folder)), "as it should be" if good else "refused") for folder, good in verdicts.items()]
        lines += ["", table(("card", ""), rows)]
    text = "\n".join(lines) + "\n"
    # A card that is not what recipe and evidence give could say anything here.
    cards = {folder.name: (folder / CARD).read_text("utf-8") for folder, good in verdicts.items() if good}
    return text + previews(cards, MOST - len(text.encode()) - 1)
