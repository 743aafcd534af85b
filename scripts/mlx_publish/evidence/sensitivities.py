"""What is measured of a source before bits are chosen: what rounding each module does to its log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Rung = tuple[int, int]
"""Bits and group size; (16, 0) leaves a module as it is stored."""
WHOLE: Rung = (16, 0)


@dataclass(frozen=True)
class CalibrationOrder:
    """The text that a method reads, and how much of it."""

    texts: Mapping[str, object]
    """The fields of `engine.passages.Texts`, or `{"text": ...}` for a file of the user's."""
    sha256: str
    """Of the texts."""
    samples: int
    length: int
    """Tokens of a sample."""
    seed: int
    place: str = ""
    """The file of the user's, as messages name it."""


@dataclass(frozen=True)
class RungCost:
    """What a module costs at a rung."""

    bytes: int
    """Of its packed weights, scales and biases."""
    kld: float
    """Mean KL divergence of the source's next-token distribution where this module alone is quantized, in nats."""


@dataclass(frozen=True)
class ModuleSensitivity:
    """A module that can be quantized; all experts of a layer that are used together are one."""

    path: str
    """As in the MLX model, `model.layers.0.mlp.up_proj`; the key of config.json's quantization."""
    kind: str
    """`attention`, `mlp`, `experts`, `router`, `embedding`, `head`, `state-space`, `indexer` or `other`."""
    weights: int
    """How many."""
    floor: int
    """Fewest bits that it may have."""
    rungs: Mapping[str, RungCost]
    """By bits and group size, `4/64`; `16/0` is the module as it is stored."""
    input: str = ""
    """The key of `importance` by which its scales are chosen; empty for plain rounding."""


@dataclass(frozen=True)
class Sensitivities:
    """All modules of a source, in the model's order."""

    modules: Sequence[ModuleSensitivity]
    importance: Mapping[str, str]
    """By input: for each of its columns a character of `0` to `9` and `a` to `z`, steps of the binary logarithm of the
    mean square of what flows in, from the least one up."""
    other_bytes: int
    """Bytes of all tensors that are never quantized, as they will be stored."""
    tokens: int
    tokens_sha256: str
    computed_in: str
    proxy: str = ""
    """`8bit` where the source's 8-bit form stood in for a source that does not fit into memory."""
    other_weights: int = 0
    """How many weights the tensors of `other_bytes` have."""

    @property
    def weights(self) -> int:
        """How many weights all tensors have."""
        return self.other_weights + sum(module.weights for module in self.modules)


def rung_key(rung: Rung) -> str:
    """Return `4/64`."""
    return f"{rung[0]}/{rung[1]}"


def rung_of(key: str) -> Rung:
    """Return bits and group size of `4/64`."""
    bits, _, group = key.partition("/")
    return int(bits), int(group)
