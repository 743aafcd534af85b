"""An own reader of weights in packed integers, one row at a time: (integer - zero point) * scale, in float64.

Bits are spread out and taken in their order, the lowest first, whatever the format calls a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.plain_reading import Exact, Reader, Stored
from mlx_publish.model.packed_weight import PackedWeight

Whole = NDArray[np.int64]
_AWQ_WRITES = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which of eight outputs the nibbles of a word of AWQ's are, the lowest first."""


def _stream(words: NDArray[Any], bits: int, *, padded: bool = False) -> Whole:
    """Return the integers in the last side of words; with `padded` none goes on in the next word."""
    spread = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=-1, bitorder="little").astype(np.int64)
    if padded:
        used = 32 // bits * bits
        spread = spread.reshape(*spread.shape[:-1], -1, 32)[..., :used].reshape(*spread.shape[:-1], -1)
    spread = spread[..., : spread.shape[-1] // bits * bits].reshape(*spread.shape[:-1], -1, bits)
    taken: Whole = spread @ (1 << np.arange(bits))
    return taken


def _columns(weight: PackedWeight, stored: Stored) -> Whole:
    """Return the group of each column."""
    columns, each = weight.shape[-1], weight.block[-1]
    if stored.has("index"):
        index = stored.whole("index").reshape(-1).astype(np.int64)
        if (index >= 0).all():
            return index
    return np.arange(columns) // each if each else np.zeros(columns, np.int64)


def _expert(weight: PackedWeight, part: NDArray[Any], row: int) -> tuple[NDArray[Any], int]:
    """Return the part of an expert of a weight that has some, and the row within it."""
    expert, inner = divmod(row, weight.shape[-2])
    return (part[expert] if len(weight.shape) > 2 else part), inner


def _gptq(weight: PackedWeight, stored: Stored, row: int) -> Exact:
    bits, groups = int(weight.bits), _columns(weight, stored)
    words, inner = _expert(weight, stored.whole("weight"), row)
    scales, _ = _expert(weight, stored.numbers("scales"), row)
    zeros: Any = 2 ** (bits - 1)
    if stored.has("zeros") and weight.options["zeros"] != "either":
        packed, _ = _expert(weight, stored.whole("zeros"), row)
        zeros = (_stream(packed, bits)[:, inner] + int(weight.options["zeros"] == "minus-one"))[groups]
    return np.asarray((_stream(words[:, inner], bits) - zeros) * scales[groups, inner], np.float64)


def _awq(weight: PackedWeight, stored: Stored, row: int) -> Exact:
    groups = _columns(weight, stored)
    words, inner = _expert(weight, stored.whole("weight"), row)
    scales, _ = _expert(weight, stored.numbers("scales"), row)
    shift = 4 * _AWQ_WRITES.index(inner % 8)
    zeros: Any = 8
    if stored.has("zeros"):
        packed, _ = _expert(weight, stored.whole("zeros"), row)
        zeros = (packed[:, inner // 8].astype(np.int64) >> shift & 15)[groups]
    return np.asarray(
        ((words[:, inner // 8].astype(np.int64) >> shift & 15) - zeros) * scales[groups, inner], np.float64
    )


def _gemv(weight: PackedWeight, stored: Stored, row: int) -> Exact:
    groups, zeros = _columns(weight, stored), np.int64(8)
    if stored.has("zeros"):
        zeros = _stream(stored.row("zeros", row), 4)[groups]
    scales = stored.numbers("scales").reshape(-1, stored.whole("scales").shape[-1])[row]
    return np.asarray((_stream(stored.row("weight", row), 4)[: weight.shape[-1]] - zeros) * scales[groups], np.float64)


def _packed_rows(weight: PackedWeight, stored: Stored, row: int) -> Exact:
    bits, padded, groups = int(weight.bits), bool(weight.options["padded"]), _columns(weight, stored)
    zeros: Any = 2 ** (bits - 1)
    if stored.has("zeros") and weight.options["zeros-packed"]:
        packed, inner = _expert(weight, stored.whole("zeros"), row)
        zeros = _stream(packed.T, bits, padded=padded)[:, inner][groups]
    elif stored.has("zeros"):
        zeros = zeros + _of_row(weight, stored.whole("zeros").astype(np.float64), row)[groups]
    whole = _stream(stored.row("weight", row), bits, padded=padded)[: weight.shape[-1]]
    return np.asarray((whole - zeros) * _of_row(weight, stored.numbers("scales"), row)[groups], np.float64)


def _integer_rows(weight: PackedWeight, stored: Stored, row: int) -> Exact:
    groups, zeros = _columns(weight, stored), np.zeros(1)
    if stored.has("zeros"):
        zeros = _of_row(weight, stored.whole("zeros").astype(np.float64), row)[groups]
    return np.asarray(
        (stored.row("weight", row) - zeros) * _of_row(weight, stored.numbers("scales"), row)[groups], np.float64
    )


def _of_row(weight: PackedWeight, of_groups: Exact, row: int) -> Exact:
    """Return what a row has for each of its groups: its own, or the one of the whole weight."""
    if of_groups.size == 1:
        return np.repeat(of_groups.reshape(-1), weight.shape[-1])
    rows = int(np.prod(weight.shape[:-1]))
    return np.asarray(of_groups.reshape(rows, -1)[row], np.float64)


def _bitnet(weight: PackedWeight, stored: Stored, row: int) -> Exact:
    height, scale = weight.shape[0] // 4, stored.numbers("scales").reshape(-1)[0]
    codes = stored.row("weight", row % height) // 4 ** (row // height) % 4
    with np.errstate(divide="ignore", invalid="ignore"):
        values = (codes - 1.0) / scale if weight.options["divides"] else (codes - 1.0) * scale
    return np.asarray(values, np.float64)


INTEGER_FORMS: Mapping[str, Reader] = {
    "gptq": _gptq,
    "awq": _awq,
    "awq-gemv": _gemv,
    "packed-rows": _packed_rows,
    "integer-rows": _integer_rows,
    "bitnet": _bitnet,
}
