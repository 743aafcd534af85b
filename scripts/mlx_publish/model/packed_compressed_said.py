"""What a config of compressed-tensors says of the weights of its groups of layers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mlx_publish.model.packed_misfit import whole_number

# Patterns of targets are a stranger's: these cannot take long on a name.
_HARMLESS = re.compile(r"(?:[\w|$^]|\\\.|\.\*|\.|\((?=[^()]*\)(?![*+?{]))|\)){1,300}")
_MOST_STARS = 5


@dataclass(frozen=True)
class Scheme:
    """How the weights of some layers are quantized to integers."""

    bits: int
    group: int
    """Columns that share a scale; 0 for a scale a row, or one for all."""
    symmetric: bool
    targets: tuple[str, ...] = ()

    def names(self, stem: str) -> bool:
        """Return whether a layer is named by a target, rather than by its class."""
        return any(_is_named(target, stem) for target in self.targets)


def schemes_of(block: Mapping[str, object]) -> tuple[Scheme, ...]:
    """Return the schemes of a config whose weights are integers, each once, in order."""
    groups = block.get("config_groups")
    found = (_scheme(group) for group in groups.values()) if isinstance(groups, Mapping) else ()
    return tuple(dict.fromkeys(scheme for scheme in found if scheme))


def is_compressed(block: Mapping[str, object]) -> bool:
    """Return whether a block is of compressed-tensors, or says nothing."""
    return not block or block.get("quant_method") == "compressed-tensors" or "config_groups" in block


def rotates(block: Mapping[str, object]) -> bool:
    """Return whether a model turns its activations while it computes, as SpinQuant and QuIP do."""
    transforms = block.get("transform_config")
    return isinstance(transforms, Mapping) and bool(transforms.get("config_groups"))


def _scheme(group: object) -> Scheme | None:
    weights = group.get("weights") if isinstance(group, Mapping) else None
    if not isinstance(group, Mapping) or not isinstance(weights, Mapping) or weights.get("type", "int") != "int":
        return None
    bits, size = whole_number(weights.get("num_bits", 8)), whole_number(weights.get("group_size"))
    if bits is None or not 1 <= bits <= 8:
        return None
    targets = group.get("targets")
    named = tuple(target for target in targets if isinstance(target, str)) if isinstance(targets, list) else ()
    return Scheme(bits, size if size and size > 0 else 0, weights.get("symmetric", True) is not False, named)


def _is_named(target: str, stem: str) -> bool:
    pattern = target.removeprefix("re:")
    if pattern == target:
        return target == stem
    if not _HARMLESS.fullmatch(pattern) or pattern.count("*") > _MOST_STARS or len(stem) > len(pattern) + 300:
        return False
    try:
        return re.match(pattern, stem) is not None
    except re.error:
        return False
