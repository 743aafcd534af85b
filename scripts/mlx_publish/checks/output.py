"""What was built, judged by what lies in the folder and not by what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlx_publish.checks.base import Check, Says, failed, passed, warned
from mlx_publish.model.select import is_legal, is_tokenizer
from mlx_publish.model.size import estimate_bytes
from mlx_publish.model.weights import TensorInfo, bits_per_weight, parameter_count
from mlx_publish.recipe import Variant

# How far the measured width may be from the one computed from the source's shapes.
_BAND = 0.1


@dataclass(frozen=True)
class Built:
    """A converted folder beside its source, both as headers and digests."""

    variant: Variant
    source_tensors: tuple[TensorInfo, ...]
    tensors: Mapping[str, tuple[TensorInfo, ...]]
    """Headers of the weight files in the folder, by path."""
    index: Mapping[str, Any] | None
    config: Mapping[str, Any]
    source_sha256: Mapping[str, str]
    """Digests of the source's side files, by path."""
    sha256: Mapping[str, str]
    """Digests of the folder's files, by path."""

    @property
    def all_tensors(self) -> tuple[TensorInfo, ...]:
        """The tensors of all weight files."""
        return tuple(tensor for header in self.tensors.values() for tensor in header)


def _bits(built: Built) -> Says:
    measured = bits_per_weight(built.all_tensors, built.config.get("quantization"))
    # Two source tensors may be one in the result (a tied head), so compare widths and not sizes.
    estimate = estimate_bytes(built.source_tensors, built.variant, built.config.get("torch_dtype"))
    wanted = 8 * estimate / (parameter_count(built.source_tensors) or 1)
    nominal = built.variant.q_bits
    # Not `wanted`, which knows of layers that cannot be quantized. A scale and a bias have up to 32 bits each.
    if nominal and measured > nominal + 64 / (built.variant.q_group_size or 64) + 1:
        return failed(
            f"{measured:.3f} bits per weight, far from the {nominal} of the name: quantization missed layers",
            "Take a group size that divides the layers' last dimension.", bits_per_weight=round(measured, 4),
        )  # fmt: skip
    exact = not built.variant.mixed
    if exact and abs(measured - wanted) > _BAND * wanted:
        return failed(
            f"{measured:.3f} bits per weight where the shapes give {wanted:.3f}",
            "Look at the quantization block of model/config.json.", bits_per_weight=round(measured, 4),
        )  # fmt: skip
    return passed(f"{measured:.3f} bits per weight", bits_per_weight=round(measured, 4))


def _index(built: Built) -> Says:
    listed = dict((built.index or {}).get("weight_map", {}))
    stored = {tensor.name: path for path, header in built.tensors.items() for tensor in header}
    if listed and listed != stored:
        different = sorted(set(listed.items()) ^ set(stored.items()))
        return failed(f"index and weight files disagree about {different[0][0]}", "Convert again with --force.")
    if not stored:
        return failed("there are no weights in the folder", "Convert again with --force.")
    return passed(f"{len(stored):,} tensors in {len(built.tensors)} file(s), as the index says")


def _quantization(built: Built) -> Says:
    block = built.config.get("quantization")
    if not built.variant.quantized:
        return (
            passed("config.json says nothing of quantization")
            if block is None
            else failed("config.json names a quantization that was not asked for", "Convert again with --force.")
        )
    wanted = {"group_size": built.variant.q_group_size, "mode": built.variant.q_mode}
    if built.variant.q_bits:
        wanted["bits"] = built.variant.q_bits
    wrong = [key for key, value in wanted.items() if (block or {}).get(key, "affine") != value]
    if wrong:
        return failed(f"config.json's quantization differs in {', '.join(wrong)}", "Convert again with --force.")
    return passed(f"config.json says {', '.join(f'{key} {value}' for key, value in wanted.items())}")


def _tokenizer(built: Built) -> Says:
    names = [path for path in built.source_sha256 if is_tokenizer(path)]
    changed = [path for path in names if built.sha256.get(path) != built.source_sha256[path]]
    if changed:
        return failed(f"differs from the source's: {', '.join(changed)}", "Convert again with --force.")
    return passed(f"{len(names)} tokenizer file(s), byte for byte the source's")


def _legal(built: Built) -> Says:
    names = [path for path in built.source_sha256 if is_legal(path)]
    lost = [path for path in names if built.sha256.get(path) != built.source_sha256[path]]
    if lost:
        return failed(f"not carried over: {', '.join(lost)}", "Convert again with --force.")
    if not names:
        return warned("the source has no licence file; the card names the licence")
    return passed(f"carried over: {', '.join(names)}")


CONVERT: tuple[Check[Built], ...] = (
    Check("bits-per-weight", "The bits fit the name", "a name that lies about the size", _bits),
    Check("index-agrees", "Index and files agree", "a model that loads in part", _index),
    Check(
        "quantization-told",
        "config.json tells how it was quantized",
        "weights read with the wrong bits",
        _quantization,
    ),
    Check(
        "tokenizer-same",
        "The tokenizer is the source's",
        "other ids than the model was trained on",
        _tokenizer,
    ),
    Check("legal-files", "Licence files travel along", "a lost licence", _legal),
)
