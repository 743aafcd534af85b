"""mlx-card: a card and its chart are what recipe and evidence give, and its front matter is valid.

A card is never mended here: who wants other words changes the recipe or a template, and renders again.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlx_publish.card.render import UNRENDERABLE, has_chart, render, render_chart
from mlx_publish.card.senses import picture
from mlx_publish.checks.listed import COMPLETE, shown, unaccepted, untested, wrong_list
from mlx_publish.errors import BadInput, Fault, PublishError, in_file
from mlx_publish.evidence.digests import PICTURE
from mlx_publish.evidence.evidence import Evidence
from mlx_publish.hooks.cores import shared
from mlx_publish.hooks.evidence import Claim, EvidenceFile, disagreements, read_evidence
from mlx_publish.hooks.faults import Options, faults_of
from mlx_publish.hooks.front_matter import faults
from mlx_publish.hooks.known_recipes import Known, KnownRecipes
from mlx_publish.recipes.policy import Policy, judge_licence
from mlx_publish.recipes.recipe import Recipe, Variant
from mlx_publish.text.json_text import FaultyJson, read_within

_INDEX = re.compile(r"\[[0-9]+\]")


def claims(file: EvidenceFile, recipe: Recipe, policy: Policy | None) -> Iterator[Fault]:
    """Yield what the recipe or the policy gainsays, and what is wrong with the list of checks."""
    evidence = file.evidence
    for key, value, wanted in _claims(evidence, recipe):
        if value != wanted:
            yield file.fault(key, f"says {shown(repr(value))}, but {recipe.place} gives {shown(repr(wanted))}")
    if policy and (forbidden := judge_licence(evidence.licence.id, policy, evidence.licence_of_adapter)):
        place = in_file(file.path, file.line_of("licence.id"))
        yield Fault(forbidden[0], place, "licence.id", forbidden[1])
    faults = [
        *wrong_list(evidence),
        *untested(evidence, recipe.accepted(COMPLETE)),
        *unaccepted(evidence, recipe.accepted),
    ]
    for fault in faults:
        if fault.key in file.lines:
            yield file.fault(fault.key, fault.message)
        else:  # an entry of a list that is not there stands at the line of the list
            line = file.line_of(_INDEX.split(fault.key)[0])
            yield replace(
                fault, place=in_file(file.path, line), remedy="Restore the evidence file that mlx-publish wrote."
            )


def _claims(evidence: Evidence, recipe: Recipe) -> Iterator[Claim]:
    """Yield what the recipe says in so many words."""
    spec, destination = recipe.spec, recipe.destinations[evidence.variant.label]
    yield "recipe", evidence.recipe, recipe.name
    yield "destination.name", evidence.destination.name, destination.name
    yield "destination.repo", evidence.destination.repo, destination.repo
    yield "words", evidence.words.plain, spec.card.model_dump(mode="json")
    if spec.license:
        yield "licence.id", evidence.licence.id, spec.license
        yield "licence.name", evidence.licence.name, spec.license_name
        yield "licence.link", evidence.licence.link, spec.license_link
    if spec.language:
        yield "language", evidence.language, list(spec.language)
    if evidence.smoke is not None:
        yield "smoke.asked", evidence.smoke.asked, {"system": spec.smoke.system, "prompt": spec.smoke.prompt}


MOST = 5
_LONGEST = 60
# A number, or a word with digits in it, as a digest.
_NUMBER = re.compile(r"(?<![A-Za-z0-9_])[A-Za-z_]*\d[A-Za-z0-9_]*(?:[.,]\d+)*")
_WORTH_COMPARING = 4_000_000
"""Pairs of lines; a card has some three hundred lines, and the search for what they share grows with their square."""


def differences(text: str, rendered: str) -> Iterator[tuple[int, str]]:
    """Yield line and words of what differs, the first few; nothing where all bytes are the same."""
    if text == rendered:
        return
    every = list(_differences(text.split("\n"), rendered.split("\n")))
    yield from every[:MOST]
    if every[MOST:]:
        yield every[MOST][0], f"differs here too, among {len(every)} differences"


def _differences(ours: Sequence[str], theirs: Sequence[str]) -> Iterator[tuple[int, str]]:
    if len(ours) * len(theirs) > _WORTH_COMPARING:
        yield 1, f"has {len(ours):,} lines, but recipe and evidence give {len(theirs):,}"
        return
    matcher = difflib.SequenceMatcher(a=ours, b=theirs, autojunk=False)
    for _, start, end, from_, to in (code for code in matcher.get_opcodes() if code[0] != "equal"):
        for number in range(max(end - start, to - from_)):
            line = start + number
            if line >= end:
                yield min(line, len(ours) - 1) + 1, f"{_cut(theirs[from_ + number])} is missing here"
            elif from_ + number >= to:
                yield line + 1, f"says {_cut(ours[line])}, which comes from neither recipe nor evidence"
            else:
                yield from ((line + 1, message) for message in _line(ours[line], theirs[from_ + number]))


def _line(ours: str, theirs: str) -> Iterator[str]:
    if ours.rstrip() == theirs.rstrip():
        yield "ends with different whitespace than recipe and evidence give"
    elif _NUMBER.split(ours) == _NUMBER.split(theirs):
        for our, their in zip(_NUMBER.findall(ours), _NUMBER.findall(theirs), strict=True):
            if our != their:
                yield f"says {our[:_LONGEST]}, but the evidence has {their[:_LONGEST]}"
    else:
        at = next(
            (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs))
        )
        start = max(0, at - 20)
        yield f"says {_cut(ours[start:])}, but recipe and evidence give {_cut(theirs[start:])}"


def _cut(text: str) -> str:
    if not text.strip():
        return "an empty line"
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")


LARGEST = 4 << 20
"""Bytes of a file of a card; those of real ones have some ten thousand."""
CARD, EVIDENCE, CHART = "README.md", "evidence.json", "ladder.svg"


@dataclass(frozen=True)
class _Made:
    """A card's folder with all that the card is made of."""

    folder: Path
    file: EvidenceFile
    known: Known
    variant: Variant

    @property
    def again(self) -> str:
        """The next step, for whoever wants the card as it should be."""
        recipe, cards = self.known.recipe, self.folder.parent.parent
        return (
            f"Change the recipe or a template, not the card; 'mlx-publish card --recipe {recipe.place} "
            f"--variant {self.variant.label} --into {cards}' renders it again."
        )

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """Say that the evidence is not, where it lacks what the templates ask for."""
        try:
            yield
        except UNRENDERABLE as error:
            message = f"cannot be rendered as a card: {type(error).__name__}: {error}"
            raise self.file.wrong("", message, "Restore the evidence file that mlx-publish wrote.") from error


def look(files: Sequence[Path], options: Options) -> Iterator[Fault]:
    """Yield faults in the cards in whose folders `files` lie."""
    yield from (fault for _, fault in by_card(files, options))


def by_card(files: Sequence[Path], options: Options) -> Iterator[tuple[Path, Fault]]:
    """Yield the same, each with the folder of its card: what is wrong may stand in the recipe, or in a template."""
    recipes = KnownRecipes(options.recipes)
    charts = {path.parent for path in files if path.name == CHART}
    folders = list(dict.fromkeys(path.parent for path in files))
    # What the first card loads and compiles the copies of this process have, too.
    if not folders:
        return
    yield from ((folders[0], fault) for fault in _folder(folders[0], recipes, charts))
    yield from shared(
        folders[1:], lambda piece: [(folder, fault) for folder in piece for fault in _folder(folder, recipes, charts)]
    )


def _folder(folder: Path, recipes: KnownRecipes, charts: Collection[Path]) -> Iterator[Fault]:
    missing = [name for name in (CARD, EVIDENCE) if not (folder / name).is_file()]
    if missing:
        there = CARD if missing == [EVIDENCE] else EVIDENCE
        message = f"no {missing[0]} next to it"
        yield Fault(message, in_file(folder / there), remedy=f"Add {folder / missing[0]}.")
    else:
        yield from _card(folder, recipes, chart=folder in charts)


def _card(folder: Path, recipes: KnownRecipes, *, chart: bool) -> Iterator[Fault]:
    try:
        text = _read(folder / CARD)
        yield from faults(folder / CARD, text)
        file = read_evidence(folder / EVIDENCE)
        known = recipes.of(file)
        label = file.evidence.variant.label
        variant = next((variant for variant in known.recipe.variants if variant.label == label), None)
        if variant is None:
            raise file.wrong("variant.label", f"{known.recipe.place} has no variant {label!r}", "Remove the card.")
        yield from disagreements(file, known.recipe, variant, folder)
        yield from claims(file, known.recipe, known.policy)
        made = _Made(folder, file, known, variant)
        with made.whole():
            rendered = render(known.recipe, variant, file.evidence, known.templates)
        for line, message in differences(text, rendered):
            yield Fault(message, in_file(folder / CARD, line), remedy=made.again)
        # Where labels go takes a hundred times as long as a card, so only a chart that is named is drawn again.
        yield from _chart(made, drawn=chart)
        yield from _picture(made)
    except PublishError as error:
        yield from faults_of(error, folder / EVIDENCE)


def _read(path: Path) -> str:
    """Return the text of a card or a chart. `BadInput` if it is larger than one may be."""
    try:
        return read_within(path, LARGEST).decode("utf-8", "replace")
    except FaultyJson as error:
        raise BadInput(error.message, place=in_file(path), remedy="Restore the file that mlx-publish wrote.") from error


def _picture(made: _Made) -> Iterator[Fault]:
    path = made.folder / PICTURE
    with made.whole():
        wanted = picture(made.file.evidence)
    if wanted is not None and not path.is_file():
        yield Fault(f"no {PICTURE} next to it", in_file(made.folder / CARD), remedy=made.again)
    elif wanted is None and path.is_file():
        yield Fault("the card shows no picture", in_file(path), remedy="Remove the file.")
    elif wanted is not None and (path.stat().st_size != len(wanted) or path.read_bytes() != wanted):
        yield Fault("is not the picture that the evidence names", in_file(path), remedy=made.again)


def _chart(made: _Made, *, drawn: bool) -> Iterator[Fault]:
    path = made.folder / CHART
    with made.whole():
        charted = has_chart(made.file.evidence)
        wanted = render_chart(made.file.evidence) if charted and drawn else None
    if charted and not path.is_file():
        yield Fault(f"no {CHART} next to it", in_file(made.folder / CARD), remedy=made.again)
    elif not charted and path.is_file():
        message = "the card has no other variants, so there is nothing to draw"
        yield Fault(message, in_file(path), remedy="Remove the file.")
    elif wanted is not None:
        for line, message in differences(_read(path), wanted):
            yield Fault(message, in_file(path, line), remedy=made.again)
