"""The way from a quantized source to a variant: repacked as it is, or read exactly and then quantized."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from mlx_publish.model.packed import Packing
from mlx_publish.model.repackable import why_not
from mlx_publish.recipes.recipe import Variant

_FIXED = {"mxfp4": (32, 4), "mxfp8": (32, 8), "nvfp4": (16, 4)}
_GROUPS = (128, 64, 32)


@dataclass(frozen=True)
class Way:
    """What a variant makes of the quantized weights of its source, by what config and headers say."""

    weights: int
    """That the source holds quantized."""
    repacked: int
    """Of them: those that can become MLX's by moving their bits."""
    reasons: Mapping[str, int]
    """Why the others cannot, as parts of sentences, and how many for each."""
    quantizes: bool
    by_module: bool
    """Whether bits are not those of all modules, so that it shows in the conversion what is repacked."""


def way_of(packing: Packing, variant: Variant, changed: Collection[str] = ()) -> Way:
    """Return the way of a variant; `changed` are weights that an adapter changes.

    Which numbers allow it, as scales that are powers of two, the conversion sees."""
    form, weights = variant.form, packing.weights
    learns = variant.quantized and variant.quantizer.learns and not variant.quantizer.portable
    if not form.quantized or learns:
        reason = "its method learns the weights anew" if learns else ""
        return Way(len(weights), 0, {reason: len(weights)} if reason else {}, form.quantized, by_module=False)
    if form.bits is None or form.group_size is None:
        return Way(len(weights), 0, {}, quantizes=True, by_module=True)
    asked = form.group_size, form.bits, form.mode or "affine"
    reasons = Counter(
        "an adapter changes it" if weight.name in changed else why_not(weight, *asked) for weight in weights
    )
    return Way(len(weights), reasons.pop("", 0), dict(reasons), quantizes=True, by_module=False)


def bits_of(packing: Packing) -> float:
    """Return the bits that most of the quantized numbers of a source have."""
    sizes = Counter[float]()
    for weight in packing.weights:
        sizes[weight.bits] += math.prod(weight.shape)
    return max(sizes, key=lambda bits: sizes[bits])


def kept_by(packing: Packing) -> str:
    """Return the form of MLX that all quantized weights of a source can be repacked to, for a recipe; or nothing."""
    return next((words for words, form in _forms(packing) if _keeps(packing, *form)), "")


def _keeps(packing: Packing, group_size: int, bits: int, mode: str) -> bool:
    return not any(why_not(weight, group_size, bits, mode) for weight in packing.weights)


def _forms(packing: Packing) -> Iterator[tuple[str, tuple[int, int, str]]]:
    for mode, (group_size, bits) in _FIXED.items():
        yield f"mode: {mode}", (group_size, bits, mode)
    bits = math.ceil(bits_of(packing))
    for group_size in _GROUPS:
        yield f"bits: {bits}, group_size: {group_size}", (group_size, bits, "affine")
