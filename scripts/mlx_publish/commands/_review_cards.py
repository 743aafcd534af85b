"""review-cards: check the cards that a branch changes against recipe and evidence, without secrets or network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from mlx_publish.errors import BadInput, Fault, in_file
from mlx_publish.github.changed import Changed, changed_files
from mlx_publish.github.links import absolute
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
from mlx_publish.text.markdown import Markdown, cell, link, table

_TEMPLATES = "templates"
_TITLE = "Card review"
_EVIDENCE = "evidence.json"
CARD = "README.md"
_RULES = "This branch changes the rules it is judged by:"
_LISTED = 50
"""Faults listed in the summary."""


def review_cards(
    root: Path, base: str, cards: Path, recipes: Path, runner: Runner, say: Callable[[str], None] | None = None
) -> int:
    """Print what is wrong with the cards that differ from `base`; return 1 if anything is.

    `say` takes the name of each card that matches its evidence.
    If recipes, templates or the policy changed, all cards are checked, because they are made from those. Raises
    `BadInput` if git does not know the base.
    """
    changed = changed_files(root, base)
    links = list(_links(changed, cards, recipes))
    rules = [] if links else _rules(changed, root)
    if links := links or [fault for rule in rules for fault in _link(rule)]:
        return _ended({}, links, "nothing else was checked", runner)
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
    return _ended(verdicts, faults, f"{len(folders)} cards and {len(wanted)} recipes checked", runner, changes)


def _ended(
    verdicts: Mapping[Path, bool], faults: Sequence[Fault], looked_at: str, runner: Runner, rules: Sequence[str] = ()
) -> int:
    """Print and summarise; `verdicts` says by the folder of a card whether it matches its evidence."""
    tell(faults, _TITLE)
    runner.summarize(_summary(verdicts, faults, rules, runner))
    if rules:
        print(harmless(plain(f"{_RULES} {', '.join(shown(path) for path in rules[:_LISTED])}")))
    print(f"{looked_at}, {len(faults)} problem{'' if len(faults) == 1 else 's'}")
    return int(bool(faults))


def _links(changed: Sequence[Changed], cards: Path, recipes: Path) -> Iterator[Fault]:
    """Yield links that a branch puts on a path to files that are read: they could point to files of this machine."""
    for change in changed:
        path = Path(change.path)
        read = _TEMPLATES in path.parts or any(
            path.is_relative_to(place) or place.is_relative_to(path) for place in (cards, recipes, Path(POLICY))
        )
        if read:
            yield from _link(change)


def _link(change: Changed) -> Iterator[Fault]:
    if change.link and not change.removed:
        message = "is a link; linked files are never read"
        yield Fault(message, in_file(change.path), remedy="Commit a file or folder instead.")


def _rules(changed: Sequence[Changed], root: Path) -> list[Changed]:
    """Return the rules that a branch changes: policy, list of signers, templates.

    The branch's own rules are applied, because they hold after a merge; so whoever merges has to know.
    """
    try:
        policy = find_policy(root)
    except BadInput:  # the hooks report it
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
    """Return folders of cards, as `cards/<namespace>/<name>`, relative to the current folder."""
    folders = {change.path.parent for change in changed if change.path.parent.parent.parent == cards}
    if every:
        folders |= {
            PurePosixPath(path.parent.relative_to(root).as_posix()) for path in (root / cards).glob(f"*/*/{CARD}")
        }
    return [Path(folder) for folder in sorted(folders) if any((root / folder / name).is_file() for name in FILES)]


def _recipes(changed: Sequence[Changed], recipes: Path, root: Path, folders: Sequence[Path]) -> list[Path]:
    """Return changed recipes and those of the cards; all of them if the policy changed, because it judges all.

    Evidence names its recipe; if no file has that name, it may be any of them.
    """
    paths = [path.relative_to(root) if path.is_relative_to(root) else path for path in recipe_paths(root / recipes)]
    named = {_recipe_of(root / folder / _EVIDENCE) for folder in folders}
    every = any(str(change.path) == POLICY for change in changed) or bool(named - {path.stem for path in paths})
    mine = {change.path for change in changed if not change.removed}
    return [path for path in paths if every or path.stem in named or PurePosixPath(path.as_posix()) in mine]


def _recipe_of(path: Path) -> str:
    """Return the recipe that evidence names; empty if it names none, which the hook reports."""
    try:
        data = read(path, EVIDENCE)
    except (OSError, ValueError):
        return ""
    name = data.get("recipe") if isinstance(data, dict) else None
    return name if isinstance(name, str) else ""


def _strangers(changed: Sequence[Changed], cards: Path) -> Iterator[Fault]:
    """Yield what does not belong in the folder of cards."""
    for change in changed:
        path = Path(change.path)
        if change.removed or not path.is_relative_to(cards):
            continue
        if not change.plain:
            message = "is a link; a card consists of files"
            yield Fault(message, in_file(path), remedy="Commit the files as mlx-publish wrote them.")
        elif len(path.relative_to(cards).parts) != 3 or path.name not in FILES:
            remedy = f"Remove it: {cards}/<namespace>/<name>/ holds only {', '.join(FILES)}."
            yield Fault("does not belong in the folder of a card", in_file(path), remedy=remedy)


def _as_written(path: Path) -> Iterator[Fault]:
    """Yield a fault if evidence is not laid out as it was written, for example with a key twice."""
    try:
        content = read_within(path, EVIDENCE.most_bytes)
        same = json_text(parse(content, EVIDENCE)).encode() == content
    except (OSError, ValueError):
        return  # the hook reports it
    if not same:
        remedy = "Commit the evidence as mlx-publish wrote it, byte for byte."
        yield Fault("is not formatted as mlx-publish writes it", in_file(path), remedy=remedy)


def _summary(verdicts: Mapping[Path, bool], faults: Sequence[Fault], rules: Sequence[str], runner: Runner) -> str:
    refused = len(verdicts) - sum(verdicts.values())
    if refused:
        heading = f"{refused} of {len(verdicts)} cards refused"
    elif faults:
        heading = "Refused, but not because of a card"
    else:
        heading = "All cards match their evidence" if verdicts else "No card changed"
    lines = [f"### {heading}\n"]
    if rules:
        lines.append(f"**{_RULES}** {', '.join(cell(shown(path)) for path in rules[:_LISTED])}\n")
    if verdicts:
        rows = [(_linked(folder, runner), "matches" if fits else "**refused**") for folder, fits in verdicts.items()]
        lines += [table(("card", "verdict"), ((card, Markdown(verdict)) for card, verdict in rows)), ""]
    lines += [_line(fault) for fault in faults[:_LISTED]]
    if faults[_LISTED:]:
        lines.append(f"- and {len(faults) - _LISTED} more")
    text = "\n".join(lines) + "\n"
    # A card that is not what recipe and evidence give could say anything here.
    cards = {
        folder.name: absolute((folder / CARD).read_text("utf-8"), partial(_beside, runner, folder))
        for folder, fits in verdicts.items()
        if fits
    }
    return text + previews(cards, MOST - len(text.encode()) - 1)


def _line(fault: Fault) -> str:
    return f"- {cell(str(fault))}{f' **Next:** {cell(fault.remedy)}' if fault.remedy else ''}"


def _linked(folder: Path, runner: Runner) -> Markdown:
    address = runner.files_address(runner.commit)
    words = cell(folder.as_posix())
    return link(words, f"{address}{folder.as_posix()}/{CARD}") if address else words


def _beside(runner: Runner, folder: Path, name: str) -> str:
    """Return the address of a file beside a card, at the commit that is judged."""
    published = {name: here for here, name in FILES.items()}
    address, here = runner.files_address(runner.commit), published.get(name)
    return f"{address}{folder.as_posix()}/{here}" if address and here else ""
