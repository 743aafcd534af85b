"""What a source is called and what is said of it: its revision, its card, its papers, the name it would take."""

from __future__ import annotations

import re

from mlx_publish.checks.base import Check, Says, failed, passed, skipped, warned
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.checks.licence import licence
from mlx_publish.model.select import is_legal, side_files
from mlx_publish.patterns import LANGUAGE


def _revision(facts: SourceFacts) -> Says:
    if facts.recipe.source_folder and not facts.identity:
        return skipped("a folder that is refused by names, sizes or headers is not digested")
    if facts.recipe.source_folder:
        return passed(f"the folder's files are identified by the digest {facts.identity[:12]}")
    if facts.recipe.spec.revision == facts.identity:
        return passed(f"pinned to commit {facts.identity}")
    named = facts.recipe.spec.revision or "the default branch"
    return warned(
        f"{named} is commit {facts.identity} today and may be another one tomorrow",
        f"Write 'revision: {facts.identity}' into the recipe.",
    )


def _card(facts: SourceFacts) -> Says:
    if problem := facts.source.card.problem:
        return warned(problem, "The recipe can say what it should have said: license, language, base_model.")
    strange = [word for word in facts.source.card.texts("language") if not re.fullmatch(LANGUAGE, word)]
    if strange and not facts.recipe.spec.language:
        named = ", ".join(f"'{word[:40]}'" for word in strange[:5])
        return warned(
            f"the source's card names languages that are no codes, and ours leaves them out: {named}",
            "Write 'language: […]' into the recipe, with codes as en or zh-Hans.",
        )
    return passed("the source's card can be read")


def _licence(facts: SourceFacts) -> Says:
    lost = {path for path in facts.source.not_texts if is_legal(path)}  # of other names it is known anyway
    return licence(facts.recipe, facts.source.card, facts.source.entries.keys() - lost)


def _side_files(facts: SourceFacts) -> Says:
    carried = sorted(side_files(facts.source.entries, text_alone=facts.text_alone) - facts.source.not_texts)
    if pointer := next((path for path in carried if facts.source.is_pointer(path)), None):
        return failed(f"{pointer} is a git-lfs pointer, not the file", "Download the file (git lfs pull).")
    return passed(f"carried over: {', '.join(carried)}" if carried else "there is nothing to carry over")


def _taken(facts: SourceFacts) -> Says:
    if not facts.taken:
        return skipped("no repo of a Hub is concerned")
    there = [name for name, exists in facts.taken.items() if exists]
    if there:
        return warned(f"exists already: {', '.join(there)}", "Publish only if yours is better or newer.")
    return passed(f"not taken yet: {', '.join(facts.taken)}")


REVISION: tuple[Check[SourceFacts], ...] = (
    Check("revision", "The revision is pinned", "a card that describes other bytes than were converted", _revision),
)
PAPERS: tuple[Check[SourceFacts], ...] = (
    Check("source-card", "The source's card can be read", "facts of the card that are lost", _card),
    Check("licence", "The licence is known", "publishing without the right to", _licence),
    Check("side-files", "Files beside the weights are whole", "pointers published as files", _side_files),
    Check("not-taken", "The name is free", "a second copy of what exists", _taken),
)
