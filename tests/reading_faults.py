"""Faults of a reader of packed weights: what it takes for something else, while the weight itself is as it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx  # noqa: TID251 -- faults of what it computes
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.derived import Derived
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.engine.unpacking import FORMS
from mlx_publish.model.packed_weight import PackedWeight

Bits = NDArray[Any]
Turn = Callable[[Bits], Bits]


def _same(bits: Bits) -> Bits:
    return bits


@dataclass(frozen=True)
class Faulty:
    """A reader of a weight that reads another one, or turns what it has read."""

    weight: PackedWeight
    inner: Derived
    turn: Turn = _same
    array_of: Callable[[mx.array], mx.array] = lambda array: array

    @property
    def name(self) -> str:
        return self.weight.name

    @property
    def takes(self) -> tuple[str, ...]:
        return self.inner.takes

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.weight.shape)

    @property
    def dtype(self) -> mx.Dtype:
        return self.inner.dtype

    def read(self, files: TensorFiles, first: int, last: int) -> Bits:
        return self.turn(self.inner.read(files, first, last))

    def array(self, arrays: Mapping[str, mx.array]) -> mx.array:
        return self.array_of(self.inner.array(arrays))


def misread(derived: Any, **changes: Any) -> Faulty:
    """A reader that takes the weight for one with other fields."""
    weight = derived.weight
    return Faulty(weight, FORMS[weight.form](replace(weight, **changes), derived.dtype))


def with_parts_of(derived: Any, other: Any, *parts: str) -> Faulty:
    """A reader that takes scales or zero points of another weight."""
    own = derived.weight.parts
    return misread(derived, parts={**own, **{part: other.weight.parts[part] for part in parts if part in own}})


def with_groups_of(derived: Any, size: int) -> Faulty:
    """A reader that takes groups of another size."""
    return misread(derived, block=(*derived.weight.block[:-1], size))


def turned(derived: Any, turn: Turn) -> Faulty:
    """A reader by rows that turns what it has read."""
    return Faulty(derived.weight, derived, turn=turn)


def as_mlx_computes(derived: Any, turn: Callable[[mx.array], mx.array]) -> Faulty:
    """A reader whose rows are right, and not what MLX computes."""
    return Faulty(derived.weight, derived, array_of=turn)


def pairs_exchanged(bits: Bits) -> Bits:
    """Rows with the two numbers of a byte exchanged."""
    turned: Bits = bits.reshape(len(bits), -1, 2)[:, :, ::-1].reshape(len(bits), -1)
    return turned


def next_row(bits: Bits) -> Bits:
    """Rows of which each is the one before it."""
    return np.roll(bits, 1, axis=0)


def doubled(bits: Bits) -> Bits:
    """Numbers in bfloat16 times two: an exponent that is off by one."""
    values = (bits.astype(np.uint32) << 16).view(np.float32) * 2
    upper: Bits = np.right_shift(values.view(np.uint32), 16).astype(np.uint16)
    return upper


def two_ulps_more(bits: Bits) -> Bits:
    """Numbers in bfloat16 of which one is two units of its last place larger."""
    turned: Bits = bits.copy()
    turned[-1, -1] += 2
    return turned
