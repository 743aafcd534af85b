"""Weights that a source holds quantized: which of its tensors stand for one weight, and how they are read.

Whoever looks at a source through `Metadata.tensors` sees the weights as they are once they are read; what lies in the
files is `Metadata.stored_tensors`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from mlx_publish.errors import Refused
from mlx_publish.model.packed_beside import find_beside
from mlx_publish.model.packed_bitnet import find_bitnet
from mlx_publish.model.packed_compressed import find_compressed
from mlx_publish.model.packed_fp4 import find_fp4
from mlx_publish.model.packed_fp8 import find_fp8
from mlx_publish.model.packed_gpt_oss import find_gpt_oss
from mlx_publish.model.packed_gptq import find_gptq
from mlx_publish.model.packed_places import judge_places
from mlx_publish.model.packed_weight import Found, PackedWeight
from mlx_publish.model.quantized import (
    SIDE_FILES,
    Quantized,
    quantized_by_config,
    quantized_by_side_file,
    quantized_by_tensors,
)
from mlx_publish.model.weights import TensorInfo

Finder = Callable[[Mapping[str, object], Mapping[str, TensorInfo]], Found]
"""Takes the block of the config (empty if there is none) and the tensors by name; returns what a form knows of them.

Raises `Refused` naming the tensor where its parts do not fit each other."""

PACKED_FILE = "packed.json"
"""Beside the links that the engine reads a source by: the fields of its `Packing`."""
_FINDERS: tuple[Finder, ...] = (
    find_fp8,
    find_fp4,
    find_gpt_oss,
    find_gptq,
    find_compressed,
    find_bitnet,
    find_beside,
)
_FLOATS = frozenset({"fp8", "mxfp4", "nvfp4"})
_BLOCKS = ("quantization_config", "compression_config")
_NAMES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


@dataclass(frozen=True)
class Packing:
    """How a source holds its quantized weights."""

    method: str
    """For people, as `fp8, 8 bits`."""
    where: str
    """The place that shows it."""
    dtype: str
    """What weights become when they are read, as `bfloat16`."""
    weights: Sequence[PackedWeight] = ()
    beside: Mapping[str, str] = field(default_factory=dict)
    """Tensors that stand for no weight, by name, with the reason for which they are left out."""

    def tensors(self, stored: Iterable[TensorInfo]) -> tuple[TensorInfo, ...]:
        """Return the tensors of a source as they are once they are read; those that are not packed stay."""
        taken = {part for weight in self.weights for part in weight.parts.values()} | set(self.beside)
        name, size = _NAMES[self.dtype], 4 if self.dtype == "float32" else 2
        read = (
            TensorInfo(weight.name, name, tuple(weight.shape), prod(weight.shape) * size) for weight in self.weights
        )
        return (*(tensor for tensor in stored if tensor.name not in taken), *read)


def packing_of(
    config: Mapping[str, object],
    side: Mapping[str, Mapping[str, object]],
    tensors: Sequence[TensorInfo],
    declared: str | None,
) -> Packing | None:
    """Return how a source holds its weights; None if they are plain numbers, or of a form that nobody reads.

    `side` are the contents of SIDE_FILES that are there, `declared` is the type that the config names.
    Raises `Refused` naming the tensor where the parts of a weight do not fit each other.
    """
    block, by_name = block_of(config, side), {tensor.name: tensor for tensor in tensors}
    found = Found()
    for find in _FINDERS:
        found = found.joined(find(block, by_name))
    if not found.weights and not found.beside:
        return None
    _once(found, by_name)
    judge_places(config, found.weights)
    quantized = _said(config, side) or _shown(found, tensors)
    dtype = declared if declared in _NAMES else "bfloat16"
    return Packing(str(quantized), quantized.where, dtype, found.weights, found.beside)


def _once(found: Found, by_name: Mapping[str, TensorInfo]) -> None:
    """Raise `Refused` where a weight is there in plain numbers beside its quantized ones."""
    taken = {part for weight in found.weights for part in weight.parts.values()}
    for weight in found.weights:
        if weight.name in by_name and weight.name not in taken:
            raise Refused(
                f"is there twice, quantized as {weight.form} in {weight.parts['weight'][:200]} besides",
                check="weights-numbers",
                place=weight.name[:200],
                remedy="Remove one of them from the source.",
            )


def _shown(found: Found, tensors: Sequence[TensorInfo]) -> Quantized:
    """Return what the tensors show where no config says it: the form, of integers the method."""
    if not found.weights:
        return Quantized("the cache alone", None, next(iter(found.beside)))
    first = found.weights[0]
    named = None if first.form in _FLOATS else quantized_by_tensors(tensors)
    return named or Quantized(first.form, first.bits, first.name)


def block_of(config: Mapping[str, object], side: Mapping[str, Mapping[str, object]]) -> Mapping[str, object]:
    """Return what a source says of its quantization: a block of config.json or of its text part, or a side file."""
    for part in (config, config.get("text_config")):
        for key in _BLOCKS if isinstance(part, Mapping) else ():
            if isinstance(part, Mapping) and isinstance(block := part.get(key), Mapping) and block:
                return block
    for path in SIDE_FILES:
        if path in side:
            nested = side[path].get("quantization")
            return nested if isinstance(nested, Mapping) else side[path]
    return {}


def without_block(config: Mapping[str, object]) -> dict[str, object]:
    """Return a config that says nothing of a quantization: what mlx-lm is shown of weights that we read."""
    kept = {key: value for key, value in config.items() if key not in _BLOCKS}
    if isinstance(text := kept.get("text_config"), Mapping):
        kept["text_config"] = {key: value for key, value in text.items() if key not in _BLOCKS}
    return kept


def _said(config: Mapping[str, object], side: Mapping[str, Mapping[str, object]]) -> Quantized | None:
    by_side = (quantized_by_side_file(path, content) for path, content in side.items())
    return quantized_by_config(config) or next(filter(None, by_side), None)
