"""What a source takes beside text: mlx-vlm keeps it, mlx-lm leaves it behind, and that only where it is asked for."""

from __future__ import annotations

import re

from mlx_publish.checks.base import Check, Says, failed, passed, skipped
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.model.senses import in_words, kinds_in, senses_in
from mlx_publish.model.spellings import class_type
from mlx_publish.text import kit

ASK = (
    "To publish only the text part, set 'modality: text' in the recipe (--modality text) and use a name that says so; "
    "or choose a text-only source."
)
_TEXT_ALONE = "To publish its text part alone, set 'modality: text' in the recipe (--modality text)."
_INSTALL = "{install}; or set MLX_PUBLISH_VISION_PYTHON to a Python with mlx-vlm. " + _TEXT_ALONE
_CLAIMED = "Take the part out of config.json if the source never had it; else complete the source. " + _TEXT_ALONE
_LEARNED = ("awq", "gptq", "dwq")
_UNPROVEN = {
    "adapter": "it is fused into the tensors of its base",
    "mtp": "it makes a drafter of multi-token heads",
    "stream": "it converts while the weights arrive",
}
"""Keys of a recipe, and what they do."""
_SAYS_TEXT = re.compile(r"(?:^|[-_.])text(?:[-_.]|$)|text[-_]?only", re.IGNORECASE)


def _by_config(facts: SourceFacts) -> Says:
    keys = senses_in(facts.source.config.raw)
    if not keys:
        return passed("config.json describes a text-only model")
    loads, words = facts.loads, in_words(keys)
    if loads.senses and loads.version is None:
        if not loads.lacking:
            return skipped(f"{loads.name} keeps the source's parts for {words}; it is not installed here")
        return failed(
            f"the source also supports {words}, which mlx-vlm keeps, but {loads.lacking}",
            _INSTALL.format(install=kit.install("mlx,vision")),
        )
    if loads.version and class_type(facts.source.config.raw) not in loads.types:
        instead = f" {_TEXT_ALONE}" if loads.senses else ""
        return skipped(f"{loads.name} cannot load it, with or without its non-text parts.{instead}")
    return _asked(facts, words, f"{', '.join(keys)} of config.json")


def _by_tensors(facts: SourceFacts) -> Says:
    towers = facts.source.towers
    names = list(dict.fromkeys(tower.name for tower in towers))
    if facts.loads.senses:
        there, keys = kinds_in(names), senses_in(facts.source.config.raw)
        if empty := [key for key in keys if kinds_in([key]) and not kinds_in([key]) & there]:
            return failed(f"config.json describes {', '.join(empty)}, and no tensor is of it", _CLAIMED)
    if not towers:
        return passed("all tensors belong to the language model")
    return _asked(facts, in_words(names), f"{len(names)} tensors, first {names[0]}")


def _beside(facts: SourceFacts) -> Says:
    """Judge what was asked for beside a model that sees or hears: what is not proven there is refused at once."""
    spec, variant, name = facts.recipe.spec, facts.variant, facts.loads.name
    method = variant.quantizer.name if variant.quantized else ""
    if method in _LEARNED:
        return failed(
            f"method: {method} learns in mlx-lm, which does not keep what sees or hears",
            "Use bits (4bit, 8bit), a mode, or a plan (target_bpw); or modality: text.",
        )
    for key, why in _UNPROVEN.items():
        if getattr(spec, key):
            return failed(
                f"{key}: {why}, which is not proven for models that see or hear",
                f"Remove '{key}'; or set modality: text.",
            )
    return passed(f"{name} does what the recipe asks for")


def _keeps_senses(facts: SourceFacts) -> bool:
    return facts.loads.senses and facts.loads.version is not None


def _towers(facts: SourceFacts) -> Says:
    if facts.loads.senses:
        return passed("the recipe says how towers are kept")
    return failed(
        "towers is about what sees or hears, of which nothing is converted",
        "Remove 'towers'; it goes with a source that takes images or audio, and without modality: text.",
    )


def _asks_for_towers(facts: SourceFacts) -> bool:
    return facts.recipe.spec.towers is not None and not facts.loads.senses


def _asked(facts: SourceFacts, words: str, signs: str) -> Says:
    if facts.recipe.spec.modality == "text":
        return passed(f"text only, as requested; the source's parts for {words} are left out: {signs}")
    if facts.loads.senses:
        return passed(f"{facts.loads.name} {facts.loads.version} keeps the source's parts for {words}: {signs}")
    silent = "" if senses_in(facts.source.config.raw) else " config.json says nothing of them, as it should. "
    return failed(
        f"the source also supports {words} ({signs}), but mlx-lm keeps only its text part: the rest would be lost "
        "silently",
        f"{silent.strip()} {ASK}".strip(),
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
        f"Add it to the destination, such as {renamed}; or accept this with a reason.",
    )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


BY_CONFIG: tuple[Check[SourceFacts], ...] = (
    Check(
        "modality",
        "What the source takes beside text is kept, or left out as the recipe asks",
        "silently losing image or audio input",
        _by_config,
        safety=True,
    ),
)
ASKED: tuple[Check[SourceFacts], ...] = (
    Check(
        "senses-asked",
        "What is asked for works with a model that sees or hears",
        "hours of work that end in a refusal",
        _beside,
        when=_keeps_senses,
    ),
    Check(
        "towers-asked",
        "`towers` is asked of a model that has some",
        "a key that does nothing",
        _towers,
        when=_asks_for_towers,
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
