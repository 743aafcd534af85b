"""Weights as their makers pack them, written value by value after what each publishes, and the numbers they stand for.

Nothing here is shared with what reads them: words are sums of `value << shift` over loops.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tensor_file import bfloat16, float32

Numbers = NDArray[Any]


def words(values: Iterable[int], bits: int) -> list[int]:
    """Words of 32 bits of numbers one behind the other, the first in the lowest bits."""
    stream, length = 0, 0
    for value in values:
        stream |= int(value) << length
        length += bits
    return [stream >> start & 0xFFFFFFFF for start in range(0, length, 32)]


def padded_words(values: list[int], bits: int) -> list[int]:
    """Words in which no number crosses the end of one."""
    per_word = 32 // bits
    return [
        sum(int(value) << bits * at for at, value in enumerate(values[start : start + per_word]))
        for start in range(0, len(values), per_word)
    ]


def awq_words(values: list[int]) -> list[int]:
    """Words of AWQ's gemm: of each eight values 0, 2, 4, 6, 1, 3, 5, 7."""
    order = (0, 2, 4, 6, 1, 3, 5, 7)
    return [sum(int(values[start + of]) << 4 * at for at, of in enumerate(order)) for start in range(0, len(values), 8)]


def int32(rows: list[list[int]]) -> NDArray[np.int32]:
    """Lists of words as an array."""
    return np.array(rows, np.uint32).view(np.int32)


@dataclass
class Layer:
    """A linear layer: integers (out, in), zero points and scales (out, groups), and the group of each column."""

    whole: Numbers
    zeros: Numbers
    scales: Numbers
    index: Numbers
    bits: int
    group: int
    kind: str = "float16"
    """Type of the scales; bfloat16 ones are numbers of float32 here."""

    @property
    def stored(self) -> Numbers:
        """Scales as a file of the tests holds them: bfloat16 ones as bits."""
        return bfloat16(self.scales) if self.kind == "bfloat16" else self.scales.copy()

    @property
    def values(self) -> NDArray[np.float32]:
        """The numbers that the layer stands for, in float32."""
        out = np.empty(self.whole.shape, np.float32)
        for column, group in enumerate(self.index):
            steps = (self.whole[:, column].astype(np.int64) - self.zeros[:, group]).astype(np.float32)
            out[:, column] = steps * self.scales[:, group].astype(np.float32)
        return out


def layer(
    rows: int,
    columns: int,
    *,
    bits: int = 4,
    group: int = 32,
    symmetric: bool = False,
    seed: int = 0,
    kind: str = "float16",
    permuted: bool = False,
) -> Layer:
    """A layer of random integers; `group` 0 is one for a row."""
    rng = np.random.default_rng(seed)
    each = group or columns
    groups = -(-columns // each)
    index = np.arange(columns) // each
    if permuted:
        index = rng.permutation(index)
    most = 1 << bits
    zeros = np.full((rows, groups), most // 2) if symmetric else rng.integers(1, most, (rows, groups))
    scales = (rng.random((rows, groups)) * 0.05 + 0.001).astype(np.float32)
    scales = float32(bfloat16(scales)) if kind == "bfloat16" else scales.astype(kind)
    return Layer(rng.integers(0, most, (rows, columns)), zeros, scales, index, bits, each, kind)


def gptq(of: Layer, *, minus: int = 1, with_index: bool = True, with_zeros: bool = True) -> dict[str, Numbers]:
    """The tensors of GPTQ: packed along the input; `minus` is what zero points are stored less."""
    groups = range(of.zeros.shape[1])
    tensors = {
        "qweight": int32([words(row, of.bits) for row in of.whole]).T.copy(),
        "scales": of.stored.T.copy(),
    }
    if with_zeros:
        tensors["qzeros"] = int32([words(of.zeros[:, group] - minus, of.bits) for group in groups])
    if with_index:
        tensors["g_idx"] = of.index.astype(np.int32)
    return tensors


def awq(of: Layer) -> dict[str, Numbers]:
    """The tensors of AWQ's gemm: packed along the output."""
    return {
        "qweight": int32([awq_words(list(column)) for column in of.whole.T]),
        "qzeros": int32([awq_words(list(group)) for group in of.zeros.T]),
        "scales": of.stored.T.copy(),
    }


def awq_gemv(of: Layer) -> dict[str, Numbers]:
    """The tensors of AWQ's gemv: packed along the input in order, scales and zero points filled up."""
    groups = of.zeros.shape[1]
    several = {128: 1, 64: 2, 32: 4}.get(of.group, 1)
    filling = 8 * several
    width = (groups + filling - 1) // filling * several
    filled = np.zeros((len(of.whole), width * 8), int)
    filled[:, :groups] = of.zeros
    scales = np.zeros((len(of.whole), width * 8), of.stored.dtype)
    scales[:, :groups] = of.stored
    return {
        "qweight": int32([words(row, 4) for row in of.whole]),
        "qzeros": int32([words(row, 4) for row in filled]),
        "scales": scales,
    }


def compressed(
    of: Layer, *, symmetric: bool, padded: bool = False, with_index: bool = False, shape: bool = True
) -> dict[str, Numbers]:
    """The tensors of pack-quantized: packed along the rows, zero points down the columns."""
    pack = padded_words if padded else words
    tensors = {
        "weight_packed": int32([pack(list(row), of.bits) for row in of.whole]),
        "weight_scale": of.stored,
    }
    if not symmetric:
        columns = [pack(list(group), of.bits) for group in of.zeros.T]
        tensors["weight_zero_point"] = int32(columns).T.copy()
    if with_index:
        tensors["weight_g_idx"] = of.index.astype(np.int32)
    if shape:
        tensors["weight_shape"] = np.array(of.whole.shape, np.int64)
    return tensors


def in_bytes(of: Layer, *, symmetric: bool) -> dict[str, Numbers]:
    """The tensors of int-quantized: a byte a number, signed."""
    half = 1 << of.bits - 1
    tensors = {"weight": (of.whole - half).astype(np.int8), "weight_scale": of.stored}
    if not symmetric:
        tensors["weight_zero_point"] = (of.zeros - half).astype(np.int8)
    return tensors


def bitnet(ternary: Numbers, scale: Numbers) -> dict[str, Numbers]:
    """The tensors of BitNet: row i * rows / 4 + j in bits 2i and 2i + 1 of byte row j, one more than the number."""
    height = len(ternary) // 4
    packed = np.zeros((height, ternary.shape[1]), np.uint8)
    for row, numbers in enumerate(ternary):
        packed[row % height] |= (numbers + 1).astype(np.uint8) << 2 * (row // height)
    return {"weight": packed, "weight_scale": scale}


def named(stem: str, tensors: Mapping[str, Numbers]) -> dict[str, Numbers]:
    """The tensors of a layer by their names in a model."""
    return {f"{stem}.{end}": tensor for end, tensor in tensors.items()}


def rounded(values: NDArray[np.float32], dtype: str) -> Numbers:
    """The bits of numbers in a type, rounded once."""
    if dtype == "bfloat16":
        return bfloat16(values)
    return values.astype(np.float16).view(np.uint16) if dtype == "float16" else values.view(np.uint32)
