"""How much memory a method that learns takes, from the headers of its source. Measured on small models, with some room.

All of them hold the source in the type that they compute in. What they hold besides is of the largest kind: sums of
products (GPTQ), what flows through one block (AWQ), a student with its gradients and all that flows through it (DWQ).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mlx_publish.model.weights import TensorInfo, embedding_of

_PROGRAMS = 1 << 30
"""Bytes of libraries and buffers."""
_EXPERT = re.compile(r"\.experts\.\d+\.")
_LAYER = re.compile(r"^(.*?\.\d+)\.")
_GPTQ_BATCH = 8
"""Samples that mlx-lm's GPTQ reads at once."""
_HEAD = 64
"""Width of a head, at least."""
_FLOAT32 = 4


@dataclass(frozen=True)
class Text:
    """How much text is read."""

    samples: int
    length: int
    """Tokens of a sample."""


@dataclass(frozen=True)
class Computing:
    """What a method computes with."""

    method: str
    bits: float
    """Of a quantized weight, with its share of scales."""
    group_size: int
    width: int
    """Bytes of a number: 4 on a CPU, 2 on a GPU."""
    settings: Mapping[str, float]


def learning_memory(tensors: Sequence[TensorInfo], text: Text, computing: Computing) -> int:
    """Return the bytes of memory that a method that learns takes at most, within about a third."""
    weights = sum(tensor.size for tensor in tensors)
    own = {"awq": _awq, "gptq": _gptq, "dwq": _dwq}[computing.method](tensors, text, computing)
    largest = max((tensor.size for tensor in tensors), default=0)
    return int(_PROGRAMS + computing.width * weights + 2 * _FLOAT32 * largest + own)


def _gptq(tensors: Sequence[TensorInfo], text: Text, computing: Computing) -> float:
    """Sums of products of all layers at once, three times the largest of them, the quantized layers, and one batch."""
    inputs = [layer[-1] for layer in _linear(tensors)]
    sums = _FLOAT32 * (sum(size**2 for size in inputs) + 3 * max(inputs, default=0) ** 2)
    packed = computing.bits / 8 * sum(tensor.size for tensor in tensors)
    tokens = min(_GPTQ_BATCH, text.samples) * text.length
    return sums + packed + 4 * computing.width * tokens * max(map(max, _linear(tensors)), default=0)


def _awq(tensors: Sequence[TensorInfo], text: Text, computing: Computing) -> float:
    """All that flows into the layers of one block, for all samples, three times its output, and scores of attention."""
    block = _largest_block(tensors)
    tokens = text.samples * text.length
    flowing = sum(layer[-1] for layer in block) + 4 * max(map(max, block), default=0)
    embedding = embedding_of(tensors)
    heads = (embedding.shape[1] if embedding else 0) // _HEAD
    # A GPU never holds scores of attention, a CPU those of all samples, twice.
    scores = 2 * tokens * text.length * heads if computing.width == _FLOAT32 else 0
    return computing.width * (tokens * flowing + scores)


def _dwq(tensors: Sequence[TensorInfo], text: Text, computing: Computing) -> float:
    """The student, its scales four times in float32, and what flows through all layers and to the logits of a batch."""
    weights = sum(tensor.size for tensor in tensors)
    scales = 2 * weights / computing.group_size
    tokens = int(min(computing.settings["batch_size"], text.samples)) * text.length
    flowing = sum(sum(layer) for layer in _linear(tensors))
    embedding = embedding_of(tensors)
    logits = 6 * _FLOAT32 * tokens * (embedding.shape[0] if embedding else 0)
    unpacked = computing.width * weights if computing.width == _FLOAT32 else 0
    return computing.bits / 8 * weights + 4 * _FLOAT32 * scales + unpacked + computing.width * tokens * flowing + logits


def _linear(tensors: Iterable[TensorInfo]) -> list[tuple[int, int]]:
    """Return rows and columns of linear layers; all experts of a layer count as one."""
    embedding = embedding_of(tuple(tensors))
    named = {
        _EXPERT.sub(".experts.", tensor.name): (tensor.shape[-2], tensor.shape[-1])
        for tensor in tensors
        if len(tensor.shape) in (2, 3) and tensor is not embedding and min(tensor.shape[-2:]) > 1
    }
    return list(named.values())


def _largest_block(tensors: Sequence[TensorInfo]) -> list[tuple[int, int]]:
    """Return the linear layers of the block that has most of them."""
    blocks: dict[str, list[TensorInfo]] = {}
    for tensor in tensors:
        if match := _LAYER.match(tensor.name):
            blocks.setdefault(match[1], []).append(tensor)
    return max((_linear(block) for block in blocks.values()), key=lambda block: sum(map(sum, block)), default=[])
