"""The licence: what the card may say, and whether it may be published at all."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.model.card import SourceCard
from mlx_publish.model.select import is_legal, side_files
from mlx_publish.recipes.patterns import LANGUAGE, LICENCE
from mlx_publish.recipes.recipe import Recipe

_UNKNOWN = "unknown"
"""An identifier of the Hub, for a licence that nobody looked for."""
_WEB = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


@dataclass(frozen=True)
class Licence:
    """Identifier, and for `other` its name and a link."""

    id: str | None
    name: str | None = None
    link: str | None = None


def licence_of(recipe: Recipe, card: SourceCard) -> Licence:
    """Return the recipe's licence, else that of the source's card."""
    if recipe.spec.license:
        return Licence(recipe.spec.license, recipe.spec.license_name, recipe.spec.license_link)
    return Licence(
        card.text("license"),
        recipe.spec.license_name or card.text("license_name"),
        recipe.spec.license_link or card.text("license_link"),
    )


def licence(recipe: Recipe, card: SourceCard, paths: Collection[str]) -> Says:
    """Judge the licence; `paths` are the files of the source."""
    stated = licence_of(recipe, card)
    unknown = not recipe.spec.license and (stated.id or "").lower() == _UNKNOWN
    if stated.id is None or unknown:
        problem = "the source's card says 'license: unknown'" if unknown else card.problem
        why = f" ({problem})" if problem else ""
        return failed(f"the licence is unknown{why}", "Add 'license: …' to the recipe if you know the right one.")
    if not re.fullmatch(LICENCE, stated.id):
        return failed(
            f"'{stated.id[:100]}' is not a licence identifier",
            "Add 'license: …' to the recipe, such as apache-2.0, or 'other' with license_name and license_link.",
        )
    if stated.id == "other" and not (stated.name and stated.link):
        return failed(
            "the licence is 'other' without a name and a link",
            "Add license_name and license_link to the recipe.",
        )
    if stated.link and (why := _dead_link(stated.link, paths)):
        return failed(f"license_link leads to {stated.link}, {why}", "Add a license_link to a web page to the recipe.")
    if stated.id.lower() not in _known():
        return warned(
            f"the licence is {stated.id}, which is not on the Hub's list of licences known to this version",
            "If the Hub rejects it, set 'license: other' with license_name and license_link in the recipe.",
        )
    return passed(f"the licence is {stated.name or stated.id}")


@cache
def _known() -> frozenset[str]:
    """Return the Hub's identifiers of licences that this version knows, in lower case."""
    lines = files("mlx_publish").joinpath("data/licences.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


def _dead_link(link: str, paths: Collection[str]) -> str:
    """Return why a link to a file would be dead in the published repo; empty if it is not."""
    if _WEB.match(link):
        return ""
    path = link.removeprefix("./").partition("#")[0]
    if path not in paths:
        return "a file that the source does not have"
    return "" if is_legal(path) else "a file that is not copied"


def _revision(facts: SourceFacts) -> Says:
    if facts.identity is None:
        return passed("the folder's files are being digested")
    if facts.recipe.source_folder and not facts.identity:
        return skipped("a folder that is refused by names, sizes or headers is not digested")
    if facts.recipe.source_folder:
        return passed(f"the folder's files are identified by the digest {facts.identity[:12]}")
    if facts.recipe.spec.revision == facts.identity:
        return passed(f"pinned to commit {facts.identity}")
    named = facts.recipe.spec.revision or "the default branch"
    return warned(f"{named} is commit {facts.identity} today and may move", _pin(facts.recipe, facts.identity))


def _pin(recipe: Recipe, commit: str) -> str:
    # The evidence keeps it: a name, and no path of this machine.
    return f"Run: mlx-publish pin {Path(recipe.place).stem}" if recipe.place else f"Add --revision {commit}"


def _card(facts: SourceFacts) -> Says:
    if problem := facts.source.card.problem:
        return warned(problem, "Add what it should have said to the recipe: license, language, base_model.")
    strange = [word for word in facts.source.card.texts("language") if not re.fullmatch(LANGUAGE, word)]
    if strange and not facts.recipe.spec.language:
        named = ", ".join(f"'{word[:40]}'" for word in strange[:5])
        return warned(
            f"the source's card names languages that are not codes; they are left out: {named}",
            "Add 'language: […]' to the recipe, with codes like en or zh-Hans.",
        )
    return passed("the source's card can be read")


def _licence(facts: SourceFacts) -> Says:
    lost = {path for path in facts.source.not_texts if is_legal(path)}  # of other names it is known anyway
    return licence(facts.recipe, facts.source.licence_card, facts.source.entries.keys() - lost)


def _side_files(facts: SourceFacts) -> Says:
    carried = sorted(side_files(facts.source.entries, text_alone=facts.text_alone) - facts.source.not_texts)
    if pointer := next((path for path in carried if facts.source.is_pointer(path)), None):
        return failed(f"{pointer} is a git-lfs pointer, not the file", "Download the file (git lfs pull).")
    return passed(f"carried over: {', '.join(carried)}" if carried else "there are no extra files to copy")


def _taken(facts: SourceFacts) -> Says:
    if not facts.taken:
        return skipped("the destination is not a Hub repo")
    there = [name for name, exists in facts.taken.items() if exists]
    if there:
        return warned(f"exists already: {', '.join(there)}", "Publish only if yours is better or newer.")
    return passed(f"not taken yet: {', '.join(facts.taken)}")


REVISION: tuple[Check[SourceFacts], ...] = (
    Check(
        "revision",
        "The revision is pinned to a commit",
        "a card that describes other bytes than were converted",
        _revision,
    ),
)
PAPERS: tuple[Check[SourceFacts], ...] = (
    Check("source-card", "The source's model card can be parsed", "losing facts from the card", _card),
    Check("licence", "The licence is known", "publishing without permission", _licence),
    Check("side-files", "Accompanying files are complete", "publishing LFS pointers as files", _side_files),
    Check("not-taken", "The destination is not taken yet", "duplicating an existing model", _taken),
)
