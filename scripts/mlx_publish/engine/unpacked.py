"""What all readers of packed weights have in common: the weight, by the tensors that stand for it, and its type."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from mlx_publish.model.packed_weight import PackedWeight


@dataclass(frozen=True)
class Unpacked:
    """A weight of (rows, columns), or of (experts, rows, columns), that is read of a packed one."""

    weight: PackedWeight
    dtype: mx.Dtype

    @property
    def name(self) -> str:
        """Return the name of the weight."""
        return self.weight.name

    @property
    def takes(self) -> tuple[str, ...]:
        """Return the names of its tensors."""
        return tuple(self.weight.parts.values())

    @property
    def shape(self) -> tuple[int, ...]:
        """Return its shape."""
        return tuple(self.weight.shape)
