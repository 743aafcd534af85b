"""Whether weights that a source holds quantized can become MLX's by moving their bits, so that nothing is rounded.

Here by what config and headers say; what the numbers must be for it, as scales that are powers of two, the engine
looks at (`engine/repacking.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mlx_publish.model.packed_weight import PackedWeight

Rule = Callable[[PackedWeight, int, int, str], str]
"""Takes a weight and MLX's group size, bits and mode; returns why it cannot be repacked so, or nothing."""

_MX_GROUP = 32


def why_not(weight: PackedWeight, group_size: int, bits: int, mode: str) -> str:
    """Return why a weight cannot be repacked to a form of MLX, as a part of a sentence; empty where it can."""
    rule = _RULES.get(weight.form)
    return rule(weight, group_size, bits, mode) if rule else f"MLX has no form for {weight.form}"


def groups_within(weight: PackedWeight, group_size: int) -> str:
    """Return why groups of a size have more than one scale of the source; empty where each has one."""
    columns = weight.block[-1]
    if columns and columns % group_size:
        return f"groups of {group_size} do not divide the source's blocks of {columns}"
    return ""


def _fp8(weight: PackedWeight, group_size: int, _bits: int, mode: str) -> str:
    if mode != "mxfp8":
        return "only mxfp8 has numbers of 8-bit floats"
    if weight.options.get("float") != "e4m3":
        return f"mxfp8 has no {weight.options.get('float')}"
    return groups_within(weight, group_size)


def _four(weight: PackedWeight, group_size: int, _bits: int, mode: str) -> str:
    if mode != weight.form:
        return f"only {weight.form} has scales like theirs"
    if weight.options.get("packed") != "columns":
        return "their numbers are packed along the other side"
    return groups_within(weight, group_size)


def _integers(weight: PackedWeight, group_size: int, bits: int, mode: str) -> str:
    if mode != "affine":
        return f"{mode} has no integers"
    if bits != weight.bits:
        return f"it has {weight.bits:g} bits and {bits} are asked for"
    if weight.shape[-1] % group_size:
        return f"groups of {group_size} do not divide its {weight.shape[-1]} columns"
    return groups_within(weight, group_size)


_RULES: Mapping[str, Rule] = {
    "fp8": _fp8,
    "mxfp4": _four,
    "nvfp4": _four,
    **dict.fromkeys(("gptq", "awq", "awq-gemv", "packed-rows", "integer-rows", "bitnet"), _integers),
}
