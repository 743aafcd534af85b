"""Weights in integers as affine ones of MLX: the same integers, the same scales, and -zero * scale as bias."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.bit_streams import words_of
from mlx_publish.engine.repacked import Repack, RepackedPart
from mlx_publish.engine.rounding import Precision
from mlx_publish.engine.rows import Bits
from mlx_publish.engine.stored_numbers import bits_from
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.engine.unpacking import FORMS
from mlx_publish.engine.unpacking_integers import Integers
from mlx_publish.model.packed_weight import PackedWeight

_MOST_OFF = 0.25
"""Steps of a group by which a weight may be off as scale and bias are rounded; rounding anew has up to half a step."""
_PIECE = 1 << 20
"""Scales that are looked at at a time."""

_KINDS = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}

Exact = NDArray[np.float64]


def integers_as_affine(weight: PackedWeight, packing: Precision, dtype: mx.Dtype, files: TensorFiles) -> Repack | str:
    """Return how a weight becomes affine; why not, where its numbers do not allow it. All scales are read."""
    reader = FORMS[weight.form](weight, dtype)
    if not isinstance(reader, Integers):
        return f"{weight.form} holds no integers"
    if not reader.side_by_side(files):
        return "its groups are of columns that do not lie side by side"
    repack = IntegersAsAffine(reader, packing.group_size)
    off = 0.0
    for expert, first, last in reader.ranges(0, reader.rows, max(1, _PIECE // reader.groups)):
        part = repack.of_groups(files, expert, first, last)
        if not np.isfinite(part.scales).all():
            return "a scale is no number"
        off = max(off, part.off)
    if off > _MOST_OFF:
        kind = str(dtype).rpartition(".")[2]
        own = _KINDS.get(files.stored[weight.parts["scales"]].info.dtype, kind)
        known = f"; with dtype: {own}, as the source has them, they may be kept" if own != kind else ""
        return f"scales and zero points are too far from what {kind} holds, rounding anew is nearer{known}"
    return repack


@dataclass(frozen=True)
class _Groups:
    """Scales and biases of some rows, (rows, groups), as they are stored, and how far that is off."""

    scale_bits: Bits
    bias_bits: Bits
    scales: Exact
    rounded: int
    off: float


@dataclass(frozen=True)
class IntegersAsAffine:
    """A weight of integers, with MLX's groups of a size that divides its own."""

    reader: Integers
    group_size: int

    @property
    def name(self) -> str:
        """Return the name of the weight."""
        return self.reader.name

    def read(self, files: TensorFiles, first: int, last: int) -> RepackedPart:
        """Return rows: the source's integers, its scales, and what a zero point makes of them."""
        parts = list(self._parts(files, first, last))
        codes, scales, biases = (np.concatenate([part[at] for part, _ in parts]) for at in range(3))
        groups = [of for _, of in parts]
        return RepackedPart([codes, scales, biases], sum(of.rounded for of in groups), max(of.off for of in groups))

    def _parts(self, files: TensorFiles, first: int, last: int) -> Iterator[tuple[list[Bits], _Groups]]:
        for expert, start, stop in self.reader.ranges(first, last):
            whole = self.reader.integers_of(files, expert, start, stop)
            codes = (whole.astype(np.int16) + np.int16(self.reader.raised)).astype(np.uint8)
            groups = self.of_groups(files, expert, start, stop)
            yield [words_of(codes, self.reader.bits), groups.scale_bits, groups.bias_bits], groups

    def of_groups(self, files: TensorFiles, expert: int, first: int, last: int) -> _Groups:
        """Return scales and biases of rows of an expert in MLX's groups."""
        reader = self.reader
        zeros, stored = reader.zeros_of(files, expert, first, last), reader.scales_of(files, expert, first, last)
        scales = self._spread(stored.astype(np.float64), last - first)
        if isinstance(zeros, np.ndarray):
            steps = self._spread(zeros.astype(np.float64), last - first) + reader.raised
        else:
            steps = np.full_like(scales, zeros + reader.raised)
        biases = -steps * scales
        scale_bits, bias_bits = (bits_from(exact.astype(np.float32), reader.dtype) for exact in (scales, biases))
        with np.errstate(all="ignore"):  # scales that are no numbers
            held = numbers_of(scale_bits, reader.dtype)
            at_none = numbers_of(bias_bits, reader.dtype) - biases
            at_most = at_none + (held - scales) * ((1 << reader.bits) - 1)
            far = np.maximum(np.abs(at_none), np.abs(at_most))
            off = np.where(far > 0, far / np.abs(held), 0)
        return _Groups(scale_bits, bias_bits, scales, int((far > 0).sum()), float(off.max(initial=0)))

    def _spread(self, of_groups: Exact, rows: int) -> Exact:
        """Return what belongs to each group of MLX, (rows, groups)."""
        reader = self.reader
        starts = np.arange(0, reader.shape[-1], self.group_size)
        each = reader.weight.block[1] or reader.shape[-1]
        groups = starts // each if of_groups.shape[1] > 1 else starts * 0
        wide: Exact = np.broadcast_to(of_groups, (rows, of_groups.shape[1]))[:, groups]
        return wide


def numbers_of(bits: Bits, dtype: mx.Dtype) -> Exact:
    """Return the numbers of bits in a type."""
    if dtype == mx.bfloat16:
        return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return bits.view(np.float16 if dtype == mx.float16 else np.float32).astype(np.float64)
