"""The tensors of an adapter sorted by the module that they adapt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mlx_publish.errors import Refused
from mlx_publish.model.names import shown
from mlx_publish.model.weights import TensorInfo

_LORA = re.compile(
    r"(?P<module>.+?)(?P<wraps>(?:\.base_layer)*)"
    r"\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)"
    r"(?:\.(?P<adapter>(?!weight$|bias$)[^.]+))?(?:\.(?P<end>weight|bias))?"
)
_TOKENS = re.compile(r"(?P<module>.+)\.token_adapter\.trainable_tokens_delta(?:\.[^.]+)?")
_MLX = re.compile(r"(?P<module>.+)\.(?P<part>lora_a|lora_b|m)")
_PREFIX = "base_model.model."
_SAVED = re.compile(r"\.modules_to_save(\.[^.]+)?(?=\.)")
_ORIGINAL = ".original_module."
"""In the names of the base's own tensors, which PEFT saves beside trained ones of an embedding that was resized."""


@dataclass
class Parts:
    """What adapts one module: its tensors by what they are."""

    module: str
    wraps: int = 0
    """How many other adapted parameters of the module lie outside of it."""
    tensors: dict[str, TensorInfo] = field(default_factory=dict)


@dataclass(frozen=True)
class Sorted:
    """All tensors of an adapter."""

    modules: Sequence[Parts]
    whole: Sequence[tuple[tuple[str, ...], TensorInfo]]
    """Tensors that stand in the place of a base's, each with the names that this one may have."""


def of_peft(tensors: Iterable[TensorInfo]) -> Sorted:
    """Sort the tensors of an adapter that PEFT saved. `Refused` where two stand for the same."""
    parts: dict[tuple[str, int], Parts] = {}
    whole = []
    there = {tensor.name: tensor for tensor in tensors}
    for tensor in there.values():
        name = tensor.name.removeprefix(_PREFIX)
        if _ORIGINAL in name and tensor.name.replace(_ORIGINAL, ".") in there:
            continue
        if match := _LORA.fullmatch(name):
            end = ".bias" if match["end"] == "bias" else ""
            _add(parts, match["module"], len(match["wraps"]) // len(".base_layer"), f"{match['part']}{end}", tensor)
        elif match := _TOKENS.fullmatch(name):
            _add(parts, match["module"], 0, "tokens", tensor)
        else:
            whole.append((tuple(_meant(name)), tensor))
    return Sorted(list(parts.values()), whole)


def of_mlx(tensors: Iterable[TensorInfo], *, full: bool) -> Sorted:
    """Sort the tensors of an adapter that mlx-lm saved; with `full` they are whole parameters."""
    parts: dict[tuple[str, int], Parts] = {}
    whole = []
    for tensor in tensors:
        match = None if full else _MLX.fullmatch(tensor.name)
        if match:
            _add(parts, match["module"], 0, match["part"], tensor)
        else:
            whole.append(((tensor.name,), tensor))
    return Sorted(list(parts.values()), whole)


def _add(parts: dict[tuple[str, int], Parts], module: str, wraps: int, part: str, tensor: TensorInfo) -> None:
    there = parts.setdefault((module, wraps), Parts(module, wraps)).tensors
    if part in there:
        raise not_placed(tensor, "is there twice, of two adapters in one file", "Save one adapter for itself.")
    there[part] = tensor


def _meant(name: str) -> Iterable[str]:
    """Yield the names that a whole tensor may stand for; what wraps it names the adapter, or does not."""
    name = name.replace(".base_layer.", ".").replace("_orig_mod.", "")
    yield _SAVED.sub("", name)
    yield re.sub(r"\.modules_to_save(?=\.)", "", name)


def not_placed(tensor: TensorInfo, why: str, remedy: str = "") -> Refused:
    """Return what to raise of a tensor of an adapter that has no place in the base."""
    return Refused(
        why,
        check="adapter-placed",
        place=shown(tensor.name, 200),
        remedy=remedy or "Set `source` to the model that the adapter was trained on.",
    )


def complete(parts: Parts, wanted: Mapping[str, bool]) -> None:
    """Raise `Refused` if one of the `wanted` tensors that must be there is not, or another one is there."""
    first = next(iter(parts.tensors.values()))
    if missing := [part for part, must in wanted.items() if must and part not in parts.tensors]:
        raise not_placed(first, f"has no {missing[0]} beside it", "Complete the adapter.")
    if strange := [tensor for part, tensor in parts.tensors.items() if part not in wanted]:
        raise not_placed(strange[0], "stands beside matrices that it does not belong to", "Complete the adapter.")
