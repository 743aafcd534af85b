"""A drafter: what was made of a source's multi-token heads, and how mlx-vlm generates with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DrafterMade:
    """What the engine returns of a drafter that it wrote."""

    tensors: int
    """Of the source that it is made of."""
    weight_bytes: int
    parameters: int
    quantized: int
    """Tensors that were quantized."""
    sha256: Mapping[str, str]
    """Of its weight files, by name."""
    different: Sequence[str]
    """Tensors that are not what mlx-vlm makes of the source's."""
    twice: Sequence[str]
    """Norms that look as if one had been added to their scales before."""


@dataclass(frozen=True)
class Drafter:
    """What `convert` reports of a drafter."""

    folder: str
    model_type: str
    block_size: int
    """Tokens of a round at most, the model's own included."""
    bits: int | None
    """None for one with the source's own numbers."""
    group_size: int | None
    tensors: int
    weight_bytes: int
    parameters: int


@dataclass(frozen=True)
class Difference:
    """The first token in which an answer with the drafter is another one."""

    prompt: int
    position: int
    gap: float
    """How much more likely the model holds its own token, in nats."""


@dataclass(frozen=True)
class Drafted:
    """What the child with mlx-vlm returns: greedy answers with the drafter and without it."""

    prompts: int
    tokens: int
    """Generated with the drafter."""
    rounds: int
    drafted: int
    accepted: int
    """Of those that the drafter proposed."""
    block_size: int
    computed_in: str
    device: str
    differences: Sequence[Difference]
    seconds: float
    """Of all answers with the drafter, without their first tokens."""
    plain_seconds: float
    """The same without it."""


@dataclass(frozen=True)
class DrafterProof(Drafted):
    """What `smoke` reports of a drafter that mlx-vlm generated with."""

    versions: Mapping[str, str] = field(default_factory=dict)
    routed: bool = False
    """Whether a router chooses experts, which turns rounding into steps."""


@dataclass(frozen=True)
class DrafterUnproven:
    """Why mlx-vlm could not generate with a drafter."""

    reason: str
    missing: bool = field(default=False)
    """Whether mlx-vlm itself is missing here."""
