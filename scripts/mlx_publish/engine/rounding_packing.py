"""Pack codes of 2 to 8 bits without gaps, the first code in the lowest bits, as MLX does."""

from __future__ import annotations

import numpy as np

from mlx_publish.engine.rounding_formats import Array, Groups


def pack(groups: Groups, turned: Array, bits: int, out: Array) -> None:
    """Write the codes of turned groups to the bytes of `out`. Changes `turned`."""
    codes = out if bits == 8 else groups.buffer("ordered", np.uint8).reshape(-1)
    groups.in_order(turned, codes)
    spare = turned.reshape(-1)
    if bits == 4:
        pairs, upper = codes.view(np.uint16), spare.view(np.uint16)
        np.right_shift(pairs, 4, out=upper)
        np.bitwise_or(pairs, upper, out=pairs)
        np.copyto(out, pairs, casting="unsafe")
    elif bits == 2:
        # A product adds the four codes up at bits 24, 26, 28 and 30; all its other terms stay below.
        fours = codes.view(np.uint32)
        np.multiply(fours, 1 << 24 | 1 << 18 | 1 << 12 | 1 << 6, out=fours)
        np.right_shift(fours, 24, out=fours)
        np.copyto(out, fours, casting="unsafe")
    elif bits < 8:
        _pack_odd(codes, spare, bits, out)


def _pack_odd(codes: Array, spare: Array, bits: int, out: Array) -> None:
    """Join neighbours three times, so eight codes are the lowest bits of a 64-bit word; copy the bytes that count."""
    for dtype, width in ((np.uint16, 8), (np.uint32, 16), (np.uint64, 32)):
        words, upper = codes.view(dtype), spare.view(dtype)
        np.right_shift(words, width, out=upper)
        np.multiply(upper, (1 << width) - (1 << width * bits // 8), out=upper)
        np.subtract(words, upper, out=words)
    unit = np.dtype(np.uint16 if bits % 2 == 0 else np.uint8)
    words, packed = codes.view(unit), out.view(unit)
    count = bits // unit.itemsize
    for place in range(count):
        packed[place::count] = words[place :: 8 // unit.itemsize]
