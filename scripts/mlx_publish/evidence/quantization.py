"""How the bits of a variant were chosen or learned: what evidence says of it, and the card shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlx_publish.evidence.records import LEFT_OUT

PLAN_FILE = "quantization-plan.yaml"
"""The plan of a variant in `model/`, beside its card in a pull request, and among the published files."""


@dataclass(frozen=True)
class Calibration:
    """The text that a method read."""

    text: str
    """`package`, or the name of the user's file."""
    sha256: str
    samples: int
    length: int
    """Tokens of a sample."""
    seed: int


@dataclass(frozen=True)
class PlanGroup:
    """Modules of one kind in a plan, for the card's table."""

    kind: str
    modules: int
    weights: int
    bits_per_weight: float
    least: str
    """The narrowest rung among them, `3/64`."""
    most: str
    predicted_kld: float


@dataclass(frozen=True)
class PlanSummary:
    """A plan at a glance; the whole is the file."""

    file: str
    sha256: str
    target: str
    """As it was asked for: `4.6 bits per weight`, `16 GB at 8,192 tokens`, `balanced`."""
    bits_per_weight: float
    rounding: str
    """`weighted`: scales chosen by how much flows through each column; `nearest`: MLX's own quantizer."""
    groups: Sequence[PlanGroup]
    proxy: str | None = field(default=None, metadata=LEFT_OUT)
    need_bytes: int | None = field(default=None, metadata=LEFT_OUT)
    """Of a `fits` target: weights, cache and margin."""


@dataclass(frozen=True)
class Quantization:
    """The method of a variant that reads text."""

    method: str
    """`plan`, `awq`, `gptq`, `dwq`, or `dwq on plan`."""
    deterministic: bool
    """Whether all machines give the same bytes of the same plan, source and versions."""
    calibration: Calibration | None = field(default=None, metadata=LEFT_OUT)
    """None where a pinned plan was followed and nothing was read."""
    plan: PlanSummary | None = field(default=None, metadata=LEFT_OUT)
    settings: Mapping[str, object] = field(default_factory=dict)
    """Of the method: learning rate, steps, grid."""


@dataclass(frozen=True)
class RoundingPoint:
    """Plain rounding at one width, on the text of the comparison."""

    label: str
    """`4bit`."""
    weight_bytes: int
    bits_per_weight: float
    mean_kld: float
    same_first_choice: float


@dataclass(frozen=True)
class Gain:
    """A variant beside plain rounding at equal bytes, paired by position; errors are clustered by passage."""

    mean_kld: float
    rounding_kld: float
    """Of plain rounding at the same bytes, interpolated between its neighbours."""
    difference: float
    """`mean_kld - rounding_kld`; below zero it earns its bytes."""
    difference_error: float
    same_first_choice: float
    rounding_same_first_choice: float
    curve: Sequence[RoundingPoint]
    error_factor: float | None = field(default=None, metadata=LEFT_OUT)
    """A 95 % interval of the difference reaches so many standard errors to both sides."""
