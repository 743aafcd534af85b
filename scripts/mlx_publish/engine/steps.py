"""By how many steps values differ, and which of these differences rounding on another device explains.

Layouts: mlx/backend/cpu/quantized.cpp. Codes of any width follow each other as a little-endian stream of bits, so
eight of them fill as many bytes as one has bits. A value halfway between two codes goes to the even one in one
backend and away from zero or towards it in another: such a code is one step away from an even one. Where that happens
to the code of a group's edge, by which the scale is chosen, the group has another scale and codes up to two steps away.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bools: TypeAlias = "NDArray[np.bool_]"
Pair: TypeAlias = "tuple[bytes, bytes]"
"""The same piece of a tensor of the rebuilt and of the published model."""
ULPS = 2
"""Of a scale or a bias, within which two devices differ by arithmetic alone."""
_REGROUPED = 2  # steps of a code in a group that has another scale
_FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
_UNSIGNED = {8: "<u1", 16: "<u2", 32: "<u4", 64: "<u8"}


@dataclass
class Tally:
    """The sum of the differences of one tensor, piece by piece."""

    differ: int = 0
    zeros: int = 0
    largest: int = 0
    steps: float = 0.0
    regrouped: int = 0
    unlikely: int = 0
    far: int = 0

    def add(self, distance: NDArray[Any]) -> None:
        """Count values that are not the same bits; a distance of 0 is another sign of zero."""
        self.differ += int(np.count_nonzero(distance))
        self.zeros += int(np.count_nonzero(distance == 0))
        self.largest = max(self.largest, int(distance.max(initial=0)))
        self.steps += float(distance.sum(dtype=np.float64))


@dataclass(frozen=True)
class Numbers:
    """Values of a type of safetensors, of `width` bits; types below a byte are compared as bytes."""

    dtype: str
    width: int

    def of(self, data: bytes) -> NDArray[Any]:
        """Return the bits as unsigned integers."""
        return np.frombuffer(data, _UNSIGNED[self.width])

    def distances(self, ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[np.float64]:
        """Return how many values of the type lie between each pair."""
        if self.dtype in _FLOATS:
            return _distance(*(_ordered(bits, self.width) for bits in (ours, theirs)))
        if self.dtype.startswith("I"):
            return _distance(*(bits.view(f"<i{self.width // 8}") for bits in (ours, theirs)))
        return _distance(ours, theirs)

    def floats(self, bits: NDArray[Any]) -> NDArray[np.float64]:
        """Return the values of 16 or 32 bits."""
        if self.dtype == "BF16":
            return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        return bits.view(f"<f{self.width // 8}").astype(np.float64)

    def tally(self, sides: Pair, tally: Tally, *, most: int) -> None:
        """Count the differences of a piece; those of more than `most` ulps are far."""
        pair = self.of(sides[0]), self.of(sides[1])
        where = pair[0] != pair[1]
        distance = self.distances(*(side[where] for side in pair))
        tally.add(distance)
        tally.far += int(np.count_nonzero(distance > (most if self.dtype in _FLOATS else 0)))


@dataclass(frozen=True)
class Codes:
    """Quantized values: their bits, whether they are small floats, and how many share a scale."""

    bits: int
    signed: bool
    group: int
    scales: Numbers = field(default_factory=lambda: Numbers("U8", 8))

    def tally(self, pair: Pair, tally: Tally, regrouped: Bools | None) -> None:
        """Count the differences of a piece; `regrouped` says for each of its groups whether it has another scale."""
        sides = [np.frombuffer(data, np.uint8).reshape(-1, self.bits) for data in pair]
        rows = (sides[0] != sides[1]).any(axis=1)
        codes = [_unpacked(side[rows], self.bits) for side in sides]
        where = codes[0] != codes[1]
        mine, other = (side[where].astype(np.int16) for side in codes)
        places = [_ordered(side, self.bits) for side in (mine, other)] if self.signed else [mine, other]
        distance = np.abs(places[0] - places[1])
        tally.add(distance)
        free = np.zeros(len(distance), np.bool_)
        if regrouped is not None and regrouped.any():
            place = (np.flatnonzero(rows)[:, None] * 8 + np.arange(8)).reshape(-1)[where]
            free = regrouped[place // self.group]
        tally.far += int(np.count_nonzero(distance > np.where(free, _REGROUPED, 1)))
        even = (other if self.signed else mine) & 1 == 0  # the CPU rounds integers to even ones, and small floats down
        tally.unlikely += int(np.count_nonzero((distance == 1) & ~even & ~free))

    def tally_scales(self, sides: Pair, tally: Tally, same_bias: Bools | None) -> Bools:
        """Count the differences of scales; return which groups have another one by the rounding of their edge."""
        pair = self.scales.of(sides[0]), self.scales.of(sides[1])
        where = pair[0] != pair[1]
        distance = np.zeros(len(where))
        distance[where] = self.scales.distances(*(side[where] for side in pair))
        tally.add(distance[where])
        regrouped = np.zeros(len(where), np.bool_)
        # The backends agree on the scales of small floats, which have one byte and no bias.
        if same_bias is not None and self.scales.width > 8 and where.any():
            mine, other = (self.scales.floats(side) for side in pair)
            change = np.abs(other - mine)
            # The edge of a group has a code between half of the largest one and the largest; here it has the next one.
            least, most = 2.0 ** -(self.bits + 2), 2.0 ** (1 - self.bits) + 2.0**-7
            regrouped = (change > least * np.abs(mine)) & (change <= most * np.abs(mine)) & same_bias
        beyond = (distance > (ULPS if self.scales.width > 8 else 0)) & ~regrouped
        tally.regrouped += int(np.count_nonzero(regrouped))
        tally.far += int(np.count_nonzero(beyond))
        return regrouped


def _unpacked(rows: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Return the eight codes of each row of as many bytes as a code has bits."""
    if 8 % bits == 0:
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        codes: NDArray[np.uint8] = (rows.reshape(-1, 1) >> shifts) & np.uint8((1 << bits) - 1)
        return codes.reshape(-1)
    stream = np.unpackbits(rows, axis=1, bitorder="little").reshape(-1, bits)
    return np.packbits(stream, axis=1, bitorder="little")[:, 0]


def _distance(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    return np.abs(one.astype(np.float64) - other.astype(np.float64))


def _ordered(bits: NDArray[Any], width: int) -> NDArray[Any]:
    """Return the place of each in the order of its values: a sign bit before a magnitude that sorts like its bits."""
    numbers = bits.astype(np.int64) if width > 8 else bits.astype(np.int16)
    magnitude = numbers & ((1 << (width - 1)) - 1)
    return np.where((numbers >> (width - 1)) & 1 == 1, -magnitude, magnitude)
