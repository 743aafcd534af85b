"""Quantization: none before ours, and ours reaches the layers."""

from __future__ import annotations

from collections.abc import Iterator

from mlx_publish.checks.base import Check, Says, failed, passed, warned
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.checks.held import base_in_words
from mlx_publish.methods.plan import narrowest_group, target_of
from mlx_publish.model.packed import Packing
from mlx_publish.model.quantized import (
    SIDE_FILES,
    Quantized,
    quantized_by_config,
    quantized_by_side_file,
    quantized_by_tensors,
)
from mlx_publish.model.weights import TensorInfo

# The share of the weights that may stay as they are before the bits of the name are a lie.
TOLERATED = 0.02
_NARROWEST = 16
# Ways to quantize by the size of their groups, the usual one first.
_WAYS = (
    (128, "group size 128"),
    (64, "group size 64"),
    (32, "group size 32"),
    (_NARROWEST, "mode nvfp4, with groups of 16"),
)


def _unquantized(facts: SourceFacts) -> Says:
    quantized = quantized_by_config(facts.source.config.raw)
    for path in SIDE_FILES:
        if quantized is None and (content := facts.source.json(path)) is not None:
            quantized = quantized_by_side_file(path, content)
    if quantized is None:
        return passed("the source is not quantized")
    # The form shows in the tensors, whose headers are asked for only where a config says that there is one.
    packing = facts.source.packing
    if packing and packing.weights:
        return passed(_read(packing))
    if facts.source.has_left_over:
        return warned(
            f"{quantized.where} says {quantized}, and all weights are plain numbers: they are taken as they are, and "
            "the result says nothing of it",
            "Remove it from the source if it is yours; else see in its card that the weights were made whole again.",
        )
    return _refusal(quantized, facts)


def _read(packing: Packing) -> str:
    return f"the source is quantized ({packing.method}, according to {packing.where}); its weights are read exactly"


def _numbers(facts: SourceFacts) -> Says:
    quantized, packing = quantized_by_tensors(facts.source.tensors), facts.source.packing
    if quantized is not None:
        return _refusal(quantized, facts)
    return passed(_read(packing) if packing and packing.weights else "the weights are stored as plain numbers")


def _refusal(quantized: Quantized, facts: SourceFacts) -> Says:
    return failed(
        f"the source is already quantized ({quantized}, according to {quantized.where}), "
        "so the result would not have the bits in its name; docs/quantized-sources.md lists the forms that are read",
        f"Use the model it was made from{base_in_words(facts)}.",
        method=quantized.method,
        bits=quantized.bits,
    )


def _reaches(facts: SourceFacts) -> Says:
    group = narrowest_group(facts.variant)
    if group is None:
        return passed("nothing is to be quantized")
    lost = list(missed(facts, group))
    if not lost:
        return passed(f"groups of {group} divide every layer")
    part = _share(facts, group)
    more = f" and {len(lost) - 1} more" if lost[1:] else ""
    named = f"{lost[0].name} {list(lost[0].shape)}{more}"
    message = f"groups of {group} do not divide {named}: {part:.1%} of the weights would stay unquantized"
    if part > TOLERATED and target_of(facts.variant) is None:  # a plan counts them; it may be out of reach
        # Methods that learn write affine weights, whose groups are no smaller than 32.
        alone = ", without method" if facts.variant.quantizer.learns else ""
        ways = ((size, way + alone * (size == _NARROWEST)) for size, way in _WAYS)
        way = next((way for size, way in ways if size != group and _share(facts, size) <= TOLERATED), None)
        unquantized = "Leave it unquantized (dtype bfloat16); no group size divides its layers."
        return failed(message, f"Take {way}." if way else unquantized, share=round(part, 4))
    return warned(message, share=round(part, 4), layers=[tensor.name for tensor in lost])


def _share(facts: SourceFacts, group: int) -> float:
    """Return which part of the weights groups of this size leave unquantized, from 0 to 1."""
    total = sum(tensor.size for tensor in facts.source.language_tensors)
    return sum(tensor.size for tensor in missed(facts, group)) / total if total else 0.0


def missed(facts: SourceFacts, group: int) -> Iterator[TensorInfo]:
    """Yield the layers that mlx-lm would leave as they are.

    Source: `wrapped_predicate` of quantize_model in mlx_lm/utils.py: the last dimension decides.
    """
    turned = facts.source.config.model_type == "gpt2"
    for tensor in facts.source.language_tensors:
        sides = _sides(tensor, turned)
        if sides and all(side % group for side in sides):
            yield tensor


def _sides(tensor: TensorInfo, turned: bool) -> tuple[int, ...]:
    """Return the dimension that is cut into groups, or both that it may be; empty for anything but a linear layer."""
    if len(tensor.shape) == 3 and "experts" in tensor.name:
        return tensor.shape[1:]  # some architectures keep their experts turned
    if len(tensor.shape) != 2 or not tensor.name.endswith(".weight"):
        return ()
    # gpt2 keeps linear layers turned (Conv1D); mlx-lm turns them back.
    conv = turned and tensor.name.endswith((".c_attn.weight", ".c_proj.weight", ".c_fc.weight"))
    return tensor.shape[:1] if conv else tensor.shape[1:]


BY_CONFIG: tuple[Check[SourceFacts], ...] = (
    Check(
        "unquantized",
        "The source is not quantized, or in a form that is read",
        "a bit width that differs from the name",
        _unquantized,
    ),
)
BY_HEADERS: tuple[Check[SourceFacts], ...] = (
    Check(
        "weights-numbers",
        "The weights are plain numbers, or are read as such",
        "packed integers mistaken for weights",
        _numbers,
    ),
    Check("groups-fit", "The group size divides the layers", "a name that promises bits few layers have", _reaches),
)
