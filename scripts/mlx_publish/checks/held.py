"""Sources that are quantized: the way from there to the variant, and the model that it was made from."""

from __future__ import annotations

import math
import re

from mlx_publish.checks.base import Check, Says, failed, passed, warned
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.model.packed import Packing
from mlx_publish.model.ways import Way, bits_of, kept_by, way_of
from mlx_publish.recipes.variant import DTYPE_NAMES

_WIDE = 16
_WIDTHS = {"float32": 32}
# Tails of the names of quantized repos.
_TAIL = re.compile(
    r"[-_.](awq|gptq|gguf|exl[23]|hqq|bnb|unsloth|fp[48]|nvfp4|mxfp[48]|mlx|quantized|dynamic|block|modelopt|"
    r"w[248]afp8|int[2-8]|w[2-8]a\d+|[2-8][-_]?bits?|gs?\d+|\d+g|q[2-8])$",
    re.IGNORECASE,
)


def base_of(facts: SourceFacts) -> tuple[str, bool]:
    """Return the model that a quantized source was made from, and whether its card says so; empty for none.

    What the name alone says is a name without a namespace.
    """
    card = facts.source.card
    names = [name for name in card.texts("base_model") if name != facts.recipe.spec.source]
    # A fine-tune that names its own base does not say what these weights were before.
    if names and card.text("base_model_relation") in (None, "quantized"):
        return names[0], True
    own = facts.recipe.source_name
    stripped = own
    while (shorter := _TAIL.sub("", stripped)) != stripped and shorter:
        stripped = shorter
    return (stripped, False) if stripped != own else ("", False)


def base_in_words(facts: SourceFacts) -> str:
    """Return the base model by the card, else by the name, as the end of a sentence; empty where neither names one."""
    base, by_card = base_of(facts)
    return (f": {base}" if by_card else f"; by its name, probably {base}") if base else ""


def _packing(facts: SourceFacts) -> Packing:
    packing = facts.source.packing
    if packing is None:
        raise ValueError("asked of a source that is not quantized")
    return packing


def _is_held(facts: SourceFacts) -> bool:
    return facts.source.packing is not None


def _way(facts: SourceFacts) -> Says:
    packing, variant = _packing(facts), facts.variant
    changed = {change.base for change in facts.source.fusing.changes if change.base} if facts.source.fusing else ()
    way, held, keeping = way_of(packing, variant, changed), bits_of(packing), kept_by(packing)
    words = f"{way.weights:,} weights are held as {packing.method}; {_in_words(way, packing, variant.form.dtype)}"
    form = variant.form
    asked = form.bits if form.quantized else _WIDTHS.get(form.dtype or packing.dtype, _WIDE)
    details = {"weights": way.weights, "repacked": way.repacked, "reasons": dict(way.reasons), "bits": held}
    other = (
        f"Use {keeping}, which keeps the source's numbers where they allow it"
        if keeping
        else "Use no more bits than it has"
    )
    remedy = f"{other}, or convert the model that it was made from{base_in_words(facts)}."
    if asked and asked > math.ceil(held):
        label = DTYPE_NAMES.get(form.dtype or packing.dtype, "") if not form.quantized else f"{asked} bits"
        return warned(
            f"{label} of a source of {held:g} bits: larger than it, and no more exact; {words}", remedy, **details
        )
    if keeping and way.quantizes and not way.by_module and not way.repacked and asked == math.ceil(held):
        return warned(f"a quantization of a quantization with as many bits: {words}", remedy, **details)
    return passed(words, **details)


def _in_words(way: Way, packing: Packing, dtype: str | None) -> str:
    read = f"read exactly, rounded once to {dtype or packing.dtype}"
    if not way.quantizes:
        return f"they are {read}"
    if way.by_module:
        return f"those whose bits and groups stay are repacked, others are {read} and then quantized"
    kept = "repacked, if their numbers allow it"
    if way.repacked == way.weights:
        return f"they are {kept}"
    why = "; ".join(list(way.reasons)[:2])
    if way.repacked:
        return f"{way.repacked:,} are {kept}, the others {read} and then quantized ({why})"
    return f"they are {read} and then quantized ({why})"


def _base(facts: SourceFacts) -> Says:
    named, (base, by_card) = facts.recipe.spec.base_model, base_of(facts)
    if named and base and by_card and named.lower() != base.lower():
        return warned(
            f"the recipe names {named} as the base model, and the source's card says that it was made from {base}",
            f"Correct base_model, if it is not {named}.",
            base=base,
        )
    if named:
        return passed(f"the card names {named} as the base model, as the recipe says")
    if not base:
        return passed("nothing says that it was made from another model, so it is the base model itself")
    why = "its card says" if by_card else "its name says"
    whole = base if by_card else f"NAMESPACE/{base}"
    remedy = f"Add 'base_model: {whole}' to the recipe, or the source's own name if it was made from no other."
    if facts.recipe.base_model is None:
        return warned(f"the source is a quantization of {base}, {why}, and the card names no base model", remedy)
    return failed(
        f"the source is a quantization of {base}, {why}, and the card would name {facts.recipe.base_model} as the base "
        "model",
        remedy,
        base=base,
    )


HELD: tuple[Check[SourceFacts], ...] = (
    Check(
        "source-way",
        "Bits fit what a quantized source holds",
        "bits in the name that the weights never had",
        _way,
        when=_is_held,
    ),
    Check(
        "base-named",
        "The card names the model that a quantized source was made from",
        "a quantized repo as the base model",
        _base,
        when=_is_held,
    ),
)
