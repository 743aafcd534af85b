"""What a source takes beside text, which mlx-lm leaves behind: never without being asked for."""

from __future__ import annotations

import re

from mlx_publish.checks.base import Check, Says, failed, passed, skipped
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.model.senses import in_words, senses_in

ASK = (
    "Write 'modality: text' into the recipe (--modality text) to publish its text part alone, under a name that says "
    "so; or take a source of text alone."
)
_SAYS_TEXT = re.compile(r"(?:^|[-_.])text(?:[-_.]|$)|text[-_]?only", re.IGNORECASE)


def _by_config(facts: SourceFacts) -> Says:
    keys = senses_in(facts.source.config.raw)
    if not keys:
        return passed("config.json describes a text-only model")
    if facts.mlx_lm and facts.source.config.model_type not in facts.mlx_lm[1]:
        return skipped("mlx-lm cannot load it, with or without what it has beside text")
    return _asked(facts, in_words(keys), f"{', '.join(keys)} of config.json")


def _by_tensors(facts: SourceFacts) -> Says:
    towers = facts.source.towers
    if not towers:
        return passed("all tensors belong to the language model")
    names = list(dict.fromkeys(tower.name for tower in towers))
    return _asked(facts, in_words(names), f"{len(names)} tensors, first {names[0]}")


def _asked(facts: SourceFacts, words: str, signs: str) -> Says:
    if facts.recipe.spec.modality == "text":
        return passed(f"text only, as requested; the source's parts for {words} are left out: {signs}")
    return failed(
        f"the source is made for {words}, too ({signs}), and mlx-lm keeps its text part alone: the rest would be lost "
        "in silence",
        ASK,
    )


def _name(facts: SourceFacts) -> Says:
    if not facts.text_alone:
        return passed("the whole model is converted")
    destination = facts.recipe.destinations[facts.variant.label]
    says_text = bool(_SAYS_TEXT.search(destination.name))
    # A folder of another name is nobody's model yet.
    if says_text or (destination.repo is None and _plain(facts.recipe.source_name) not in _plain(destination.name)):
        return passed(f"the name {destination.name} differs from the full model's")
    # The variant's label stays at the end of the name.
    stem = destination.name.removesuffix(f"-{facts.variant.label}")
    renamed = f"{stem}-text{destination.name[len(stem) :]}"
    return failed(
        f"{destination.name} reads as the name of the full model, but only the text part is published",
        f"Put it into the destination, as {renamed}; or accept this with a reason.",
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


BY_CONFIG: tuple[Check[SourceFacts], ...] = (
    Check(
        "modality",
        "The source is text-only, or the recipe asks for text only",
        "silently losing image or audio input",
        _by_config,
        safety=True,
    ),
)
BY_TENSORS: tuple[Check[SourceFacts], ...] = (
    Check(
        "modality-weights",
        "No encoder is dropped without `modality: text`",
        "silently losing image or audio input",
        _by_tensors,
        safety=True,
    ),
)
NAMED: tuple[Check[SourceFacts], ...] = (
    Check(
        "modality-name",
        "The name says that only text is supported",
        "a text model mistaken for the multimodal one",
        _name,
    ),
)
