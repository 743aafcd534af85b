"""What an adapter makes of the tensors of its base: records that travel from the look at headers to the engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from mlx_publish.model.weights import DTYPE_BITS, TensorInfo

ADAPTED_FILE = "adapted.json"
"""Beside the links that the engine reads a source by: the fields of its `Fusing`."""
FACTORS_FILE = "adapter.safetensors"
"""There, a link to the adapter's tensors. mlx-lm reads `model*.safetensors` and does not see it."""


@dataclass(frozen=True)
class Factor:
    """A matrix within a tensor of an adapter."""

    tensor: str
    turned: bool = False
    """Whether the matrix is the transpose of what lies there."""
    expert: int = 0
    experts: int = 1
    """Into how many matrices the tensor is divided."""
    inner: bool = False
    """Whether the experts lie next to each other in its last side, (rows, rank, experts); else they are its first."""
    first: int = 0
    """The first row of the matrix that is taken."""


@dataclass(frozen=True)
class Update:
    """`scale * left @ right`, which is added to some rows of a weight; left is (rows, rank), right (rank, columns)."""

    first: int
    rows: int
    left: Factor
    right: Factor
    scale: float
    rank: int


@dataclass(frozen=True)
class Adapted:
    """A tensor as the fused model has it: a base's, or one in its place, with updates, and then scaled."""

    name: str
    dtype: str
    """safetensors' name of the type that it gets, which is the base's: `BF16`."""
    shape: Sequence[int]
    base: str | None
    """The base's tensor that it is made of."""
    instead: str | None = None
    """The adapter's tensor that stands in the place of the base's."""
    updates: Sequence[Update] = ()
    magnitude: str | None = None
    """DoRA: the lengths that rows get, or columns."""
    columns: bool = False
    """Whether `magnitude` is of columns."""
    tokens: Sequence[int] = ()
    """Rows that the tensor `rows_of` of the adapter replaces."""
    rows_of: str | None = None
    added: str | None = None
    """A vector that is added, times `scale`."""
    scale: float = 1.0


@dataclass(frozen=True)
class Fusing:
    """A base with an adapter."""

    kind: str
    """`lora`, `dora` or `full`."""
    maker: str
    """`peft` or `mlx-lm`."""
    ranks: Sequence[int]
    """Lowest and highest; none of a full fine-tune."""
    placed: int
    """How many tensors the adapter has, all of which have their places."""
    changes: Sequence[Adapted]
    config: Mapping[str, int | bool] = field(default_factory=dict)
    """Keys of config.json that become others: a vocabulary that grew, a head that is tied no more."""

    def tensors(self, base: Iterable[TensorInfo]) -> tuple[TensorInfo, ...]:
        """Return the tensors of a base as they are with the adapter: some have another size, a head may be new."""
        if self.maker == "mlx-lm":
            return tuple(base)
        made = {
            change.name: TensorInfo(
                change.name,
                change.dtype,
                tuple(change.shape),
                prod(change.shape) * DTYPE_BITS[change.dtype] // 8,
            )
            for change in self.changes
        }
        there = tuple(made.pop(tensor.name, tensor) for tensor in base)
        return (*there, *made.values())
