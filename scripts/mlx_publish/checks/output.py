"""The converted folder, judged by its files and not by what was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlx_publish.checks.base import Check, Says, failed, fixed, passed, warned
from mlx_publish.evidence.conversion import KeptLayers, MadeOn, Towers
from mlx_publish.methods.plan import target_of
from mlx_publish.model.config import DTYPES
from mlx_publish.model.kept import rounded_wider, sentence
from mlx_publish.model.select import PROCESSOR, is_legal, is_tokenizer
from mlx_publish.model.senses import LANGUAGE
from mlx_publish.model.size import estimate_bytes
from mlx_publish.model.weights import TensorInfo, bits_per_weight, parameter_count, unpacked
from mlx_publish.recipes.recipe import Variant

# How far the measured width may be from the one computed from the source's shapes.
_BAND = 0.1
_WIDTH = re.compile(r"(?<![A-Za-z0-9.])(?P<bits>\d{1,2}(?:\.\d+)?)[-_]?(?:bits?|bpw)(?![A-Za-z0-9])", re.IGNORECASE)
_ROUNDED, _ROUNDED_SHARE = 0.05, 0.005
"""How far measured bits may be from those of a name that is right: rounded to a decimal, or hit from below."""
_MORE = 0.25
"""Bits per weight by which a method's fallback may exceed the bits that it was asked for before the name is wrong."""
_NAME_IT = "Use {variant} in the destination, or name the variant after its bits per weight."
_WIDEST_RUNG = "A plan has no more for this source. Use dtype: bfloat16 (bf16), or at most target_bpw:"
AGAIN = "Convert again with --force."


@dataclass(frozen=True)
class Built:
    """A converted folder beside its source, both as headers and digests."""

    variant: Variant
    source_tensors: tuple[TensorInfo, ...]
    """Of the language model: those that are converted."""
    tensors: Mapping[str, tuple[TensorInfo, ...]]
    """Headers of the weight files in the folder, by path."""
    index: Mapping[str, object] | None
    config: Mapping[str, Any]
    source_sha256: Mapping[str, str]
    """Digests of the source's side files, by path."""
    sha256: Mapping[str, str]
    """Digests of the folder's files, by path."""
    repaired: frozenset[str] = frozenset()
    """Side files that were changed on purpose; a check of their own reports how."""
    kept: KeptLayers = field(default_factory=KeptLayers)
    """Layers that the class of the model does not quantize as all others."""
    made_on: MadeOn | None = None
    """What computed the weights."""
    towers: Towers | None = None
    """What became of the parts that see or hear; None for a text model."""
    names: tuple[str, ...] = ()
    """Of the variant and of its destination."""

    @property
    def all_tensors(self) -> tuple[TensorInfo, ...]:
        """The tensors of all weight files."""
        return tuple(tensor for header in self.tensors.values() for tensor in header)

    @property
    def language_tensors(self) -> tuple[TensorInfo, ...]:
        """Those of the language model, which a variant's bits and type are about."""
        return tuple(tensor for tensor in self.all_tensors if self.towers is None or tensor.name.startswith(LANGUAGE))

    @property
    def tower_tensors(self) -> tuple[TensorInfo, ...]:
        """Those of what sees or hears, and of what joins it to the language model."""
        return tuple(t for t in self.all_tensors if self.towers is not None and not t.name.startswith(LANGUAGE))


def _bits(built: Built) -> Says:
    block, tensors = built.config.get("quantization"), built.language_tensors
    measured = bits_per_weight(tensors, block)
    of = " of the language model" if built.towers else ""
    details = {"bits_per_weight": round(measured, 4)}
    # The name is about the layers that it can mean; the report lists those that the model's class widens by itself.
    own = {*built.kept.wider, *built.kept.whole, *built.kept.fallback}
    rest = tuple(tensor for tensor in tensors if tensor.name.rpartition(".")[0] not in own)
    among = bits_per_weight(rest, block)
    # From the source's shapes, else from those of the layers that the class does not widen. Two source tensors may be
    # one in the result (a tied head), so widths are compared and not sizes.
    shapes = tuple(unpacked(rest, block)) if own else built.source_tensors
    wanted = 8 * estimate_bytes(shapes, built.variant, built.config.get("torch_dtype")) / (parameter_count(shapes) or 1)
    nominal = built.variant.form.bits
    if target := target_of(built.variant):
        beyond = built.variant.name is None and (target.bits_per_weight or 0) > measured + _ROUNDED
        return _named(built.names, measured, of, details, f"{_WIDEST_RUNG} {measured:.1f}." if beyond else _NAME_IT)
    others = " in the other layers" if own else ""
    # Not `wanted`, which knows of layers that cannot be quantized. A scale and a bias have up to 32 bits each.
    if nominal and among > nominal + 64 / (built.variant.form.group_size or 64) + 1:
        return failed(
            f"{among:.3f} bits per weight{of}{others}, far from the {nominal} in the name: quantization missed layers",
            "Use a group size that divides the layers' last dimension.",
            **details,
        )
    if not built.variant.form.mixed and abs(among - wanted) > _BAND * wanted:
        return failed(
            f"{among:.3f} bits per weight{of}{others}, but the shapes give {wanted:.3f}",
            "Check the quantization block of model/config.json.",
            **details,
        )
    clauses = [f"its MLX class {kept}"] if (kept := sentence(built.kept)) else []
    if rounded := rounded_wider(built.kept):
        clauses.append(f"{built.variant.quantizer.name} rounds {rounded}")
    words = f"{measured:.3f} bits per weight{of}"
    if not clauses:
        return passed(words, **details)
    words += f", and not {nominal} everywhere: {'; '.join(clauses)}"
    if rounded and measured > among + _MORE:
        return warned(words, f"Set fallback_bits: {nominal}, or name the variant after its bits per weight.", **details)
    return passed(words, **details)


def _named(names: tuple[str, ...], measured: float, of: str, details: Mapping[str, object], remedy: str) -> Says:
    """Judge the bits that the names of a planned variant speak of, which only its plan knows.

    `of` says what was measured, where that is not all.
    """
    for name in names:
        for match in _WIDTH.finditer(name):
            told = float(match["bits"])
            if abs(measured - told) <= max(_ROUNDED, _ROUNDED_SHARE * told):
                continue
            words = f"{measured:.3f} bits per weight{of}, but the name {name} says {match[0]}"
            if told <= measured < told + 2:  # what plain rounding of that width may have
                return warned(words, remedy, **details)
            return failed(words, remedy, **details)
    return passed(f"{measured:.3f} bits per weight{of}", **details)


def _index(built: Built) -> Says:
    files = built.index.get("weight_map") if built.index else None
    listed = dict(files) if isinstance(files, Mapping) else {}
    stored = {tensor.name: path for path, header in built.tensors.items() for tensor in header}
    if not stored:
        return failed("the folder contains no weights", AGAIN)
    if listed != stored:
        different = sorted(set(listed.items()) ^ set(stored.items()))
        return failed(f"index and weight files disagree about {different[0][0]}", AGAIN)
    return passed(f"{len(stored):,} tensors in {len(built.tensors)} file(s), as the index says")


def _quantization(built: Built) -> Says:
    block = built.config.get("quantization")
    if not built.variant.quantized:
        scales = [tensor.name for tensor in built.all_tensors if tensor.name.endswith(".scales")]
        if block is None and not scales:
            return passed("nothing is quantized, as config.json says")
        return failed("something is quantized that was not requested", AGAIN)
    if not isinstance(block, Mapping):
        return failed("config.json has no quantization block", AGAIN)
    planned = target_of(built.variant) is not None
    wanted: dict[str, object] = {"group_size": built.variant.form.group_size, "mode": built.variant.form.mode}
    if planned:  # each module has its own
        del wanted["group_size"]
    if built.variant.form.bits:
        wanted["bits"] = built.variant.form.bits
    wrong = [key for key, value in wanted.items() if block.get(key, "affine") != value]
    if wrong:
        return failed(f"config.json's quantization differs in {', '.join(wrong)}", AGAIN)
    if misfits := list(_misfits(built)):
        return failed(f"stored with different bits or groups than config.json says: {', '.join(misfits[:3])}", AGAIN)
    told = ", ".join(f"{key} {value}" for key, value in wanted.items())
    return passed(f"{told}, in config.json and in every tensor{', each module with its own bits' if planned else ''}")


def _misfits(built: Built) -> Iterator[str]:
    """Yield quantized layers whose shapes do not give the bits and the group size that config.json names for them."""
    block = built.config["quantization"]
    tensors = {tensor.name: tensor for tensor in built.all_tensors}
    for name, scales in tensors.items():
        stem, _, kind = name.rpartition(".")
        weight = tensors.get(f"{stem}.weight")
        if kind != "scales" or weight is None:
            continue
        own = block.get(stem)
        entry = own if isinstance(own, Mapping) else block
        length = scales.shape[-1] * int(entry["group_size"])
        if weight.dtype != "U32" or weight.shape[-1] * 32 != length * int(entry["bits"]):
            yield stem


def _precision(built: Built) -> Says:
    """Compare the types of all that is not packed with the type that config.json declares."""
    declared = built.config.get("torch_dtype")
    stored = sorted({DTYPES[t.dtype] for t in built.language_tensors if t.dtype in DTYPES})
    if declared is None:
        return warned(f"config.json declares no dtype; stored: {', '.join(stored)}", "Set dtype in the recipe.")
    # An architecture may keep some tensors, as a router's bias, in float32 whatever is asked.
    if declared not in stored:
        return failed(f"config.json says {declared}; stored: {', '.join(stored)}", AGAIN)
    before = sorted({DTYPES[t.dtype] for t in built.source_tensors if t.dtype in DTYPES})
    declared_before = len(before) > 1 and declared in before
    if before != stored and (declared_before or not built.variant.dtype):
        return fixed(f"{', '.join(before)} in the source, {', '.join(stored)} now, as config.json says")
    return passed(f"{', '.join(stored)}, as config.json says")


def _tokenizer(built: Built) -> Says:
    names = [path for path in built.source_sha256 if is_tokenizer(path) and path not in built.repaired]
    # What makes numbers of pictures and sounds: a mean that is a little off moves no check of drawn pictures.
    processor = [path for path in built.source_sha256 if path in PROCESSOR and path not in built.repaired]
    changed = [path for path in (*names, *processor) if built.sha256.get(path) != built.source_sha256[path]]
    if changed:
        return failed(f"differs from the source's: {', '.join(changed)}", AGAIN)
    more = f" and {len(processor)} of its processor" if processor else ""
    return passed(f"{len(names)} tokenizer file(s){more}, byte for byte the source's")


def _legal(built: Built) -> Says:
    names = [path for path in built.source_sha256 if is_legal(path)]
    lost = [path for path in names if built.sha256.get(path) != built.source_sha256[path]]
    if lost:
        return failed(f"not carried over: {', '.join(lost)}", AGAIN)
    if not names:
        return warned("the source has no licence file; the card names its licence")
    return passed(f"carried over: {', '.join(names)}")


CONVERT: tuple[Check[Built], ...] = (
    Check("bits-per-weight", "Bits per weight match the name", "a name that misstates the size", _bits),
    Check("index-agrees", "The index matches the files", "a model that loads only in part", _index),
    Check(
        "quantization-told",
        "The quantization block matches the tensors",
        "weights read with the wrong bits",
        _quantization,
    ),
    Check("precision", "The dtype is the declared one", "a file twice the expected size", _precision),
    Check("tokenizer-same", "The tokenizer is the source's", "other ids than the model was trained on", _tokenizer),
    Check("legal-files", "Licence files are included", "a lost licence", _legal),
)
