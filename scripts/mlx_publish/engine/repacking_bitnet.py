"""Ternary weights of BitNet as affine ones of 2 bits: codes 0, 1 and 2 times the scale, less the scale."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlx_publish.engine.bit_streams import words_of
from mlx_publish.engine.repacked import Repack, RepackedPart
from mlx_publish.engine.rounding import Precision
from mlx_publish.engine.rows import Bits
from mlx_publish.engine.stored_numbers import bits_from
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.engine.unpacking_bitnet import BitNet
from mlx_publish.model.packed_weight import PackedWeight


def bitnet_as_affine(weight: PackedWeight, packing: Precision, dtype: mx.Dtype, files: TensorFiles) -> Repack | str:
    """Return how a weight becomes affine; why not, where its scale is no number or gives none."""
    reader = BitNet(weight, dtype)
    scale = reader.scale(files)
    if not np.isfinite(scale):
        return "a scale is no number"
    scales = np.array([scale, -scale], np.float32)
    bits = bits_from(scales, dtype)
    exact = bits_from(scales, mx.float32)
    wide = np.array(mx.view(mx.array(bits), dtype).astype(mx.float32))
    held = float(np.abs(wide[0]))
    off = float(np.abs(wide - exact.view(np.float32)).max()) / held if held else 0.0
    return BitNetAsAffine(reader, packing.group_size, bits, off)


@dataclass(frozen=True)
class BitNetAsAffine:
    """A weight of three numbers, with its scale and what is subtracted as bits of the result's type."""

    reader: BitNet
    group_size: int
    bits: Bits
    off: float

    @property
    def name(self) -> str:
        """Return the name of the weight."""
        return self.reader.name

    def read(self, files: TensorFiles, first: int, last: int) -> RepackedPart:
        """Return rows: the source's codes, and its scale for each group."""
        codes = self.reader.codes(files, first, last)
        groups = np.empty((last - first, self.reader.shape[1] // self.group_size), self.bits.dtype)
        scales, biases = (np.full_like(groups, bits) for bits in self.bits)
        return RepackedPart([words_of(codes, 2), scales, biases], groups.size if self.off else 0, self.off)
