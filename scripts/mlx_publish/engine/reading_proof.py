"""The reader of a quantized source is proven before anything is made: rows of each weight are read once more.

`plain_reading` reads rows from the beginning, the end and spread between, all columns of them, and small weights whole;
MLX computes the smallest weight of each kind besides, and as many more as cost little. What is repacked is dequantized
by MLX and compared, too. Weights that both read alike are looked at for what a fault of the source itself does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_publish.engine.derived import Derived, packed_of, weight_of
from mlx_publish.engine.making import Way, cores, cpu_stream
from mlx_publish.engine.plain_reading import FORMS, Exact, Stored
from mlx_publish.engine.plain_reading_integers import INTEGER_FORMS
from mlx_publish.engine.repacked import Repack
from mlx_publish.engine.rounding import Precision
from mlx_publish.engine.rows import INTEGERS, SIGNED, Bits, bits_of, count
from mlx_publish.engine.strange import Figures, strange
from mlx_publish.engine.tensor_files import TensorFiles
from mlx_publish.engine.unpacking_integers import Integers
from mlx_publish.errors import Refused
from mlx_publish.evidence.conversion import PackedRead
from mlx_publish.model.packed_weight import PackedWeight

_SMALL = 1 << 16
"""Numbers of a weight that is compared whole."""
_AT_ONCE = 4
"""Weights: where rows lie in columns, one has to be in memory whole."""
_SHOWN = 200
"""Characters of an error."""
_RUN = 3
"""Rows that are read at once: the ends of a block have to be among them."""
_WHOLE, _SHARE = 1 << 22, 50
"""Numbers of weights that MLX computes whole besides; or a part of all numbers, where that is more."""

_READERS = {**FORMS, **INTEGER_FORMS}


@dataclass(frozen=True)
class Read:
    """What was compared of a weight."""

    numbers: int
    apart: int
    repacked: int
    figures: Figures


def prove(derived: Mapping[str, Derived], files: TensorFiles, all_ways: Iterable[Way]) -> PackedRead | None:
    """Compare the readers of all packed weights; None where there is none.

    Raises `Refused` naming the weight and its form where they differ.
    """
    weights = packed_weights(derived)
    if not weights:
        return None
    repacks = repacks_of(all_ways)

    def one(pair: tuple[Derived, PackedWeight]) -> Read:
        return compare(*pair, files, repacks.get(pair[1].name, ()))

    with ThreadPoolExecutor(min(cores(), _AT_ONCE)) as pool:
        read = list(pool.map(one, weights))
    whole = wholes(derived)
    for tensor in whole:
        compare_whole(tensor, _loaded(tensor, files), files)
    return all_read(read, len(whole))


def all_read(read: Sequence[Read], whole: int) -> PackedRead:
    """Return what was compared of all weights; of some MLX computed the `whole`."""
    return PackedRead(
        weights=len(read),
        numbers=sum(one.numbers for one in read),
        apart=sum(one.apart for one in read),
        whole=whole,
        repacked=sum(one.repacked for one in read),
        strange=list(strange([one.figures for one in read])),
    )


@contextlib.contextmanager
def _reading(tensor: Derived) -> Iterator[None]:
    """Turn what a reader raises where a tensor is not as it takes it for into `Refused`."""
    try:
        yield
    except (ValueError, LookupError, RuntimeError) as error:
        raise _differs(tensor, f"cannot be read by one of them: {' '.join(str(error).split())[:_SHOWN]}") from error


def packed_weights(derived: Mapping[str, Derived]) -> list[tuple[Derived, PackedWeight]]:
    """Return what is read of packed weights: the derived tensors, or those below them that an adapter changes."""
    packed = {tensor.name: tensor for tensor in map(packed_of, derived.values()) if tensor is not None}
    return [(tensor, weight) for tensor in packed.values() if (weight := weight_of(tensor)) is not None]


def repacks_of(all_ways: Iterable[Way]) -> dict[str, list[tuple[Way, Repack]]]:
    """Return by the name of a weight how it is repacked."""
    found: dict[str, list[tuple[Way, Repack]]] = {}
    for way in all_ways:
        for repack in way.repack.repacks if way.repack else ():
            found.setdefault(repack.name, []).append((way, repack))
    return found


def compare(tensor: Derived, weight: PackedWeight, files: TensorFiles, repacks: Sequence[tuple[Way, Repack]]) -> Read:
    """Compare some rows of a weight, by all readers of it. `Refused` where they differ, or cannot read it."""
    with _reading(tensor):
        return _compare(tensor, weight, files, repacks)


def _compare(tensor: Derived, weight: PackedWeight, files: TensorFiles, repacks: Sequence[tuple[Way, Repack]]) -> Read:
    numbers = apart = repacked = 0
    if isinstance(tensor, Integers):
        tensor.judge(files)  # zero points and indices of all rows
    stored, rows = Stored(weight, files), list[Exact]()
    for first, last in runs(tensor.shape, weight.block):
        exact = _exact(tensor, weight, stored, range(first, last))
        apart += _same(tensor, tensor.read(files, first, last), exact, first)
        for way, repack in repacks:
            _same_repacked(weight, way, repack, files, exact, first)
            repacked += exact.size
        numbers += exact.size
        rows.append(exact)
    return Read(numbers, apart, repacked, Figures.of(weight, np.concatenate(rows)))


def _exact(tensor: Derived, weight: PackedWeight, stored: Stored, rows: range) -> Exact:
    """Return rows as the own reader has them; as they are read where it does not know the form."""
    reader = _READERS.get(weight.form)
    if reader is None:
        bits = tensor.read(stored.files, rows.start, rows.stop).view(INTEGERS[tensor.dtype.size])
        return _values(bits, tensor.dtype).astype(np.float64)
    return np.stack([reader(weight, stored, row) for row in rows])


def runs(shape: Sequence[int], block: Sequence[int]) -> list[tuple[int, int]]:
    """Return the rows of a weight that are compared, as (first, behind the last), ascending and apart."""
    rows, columns = count(shape)
    if rows * columns <= _SMALL or rows <= 4 * _RUN:
        return [(0, rows)]
    # The last row of a block with the first ones of the next, where a block has several.
    edge = max(0, min(rows - _RUN, (block[0] or 2) - 1))
    starts = {0, edge, rows // 3, rows * 2 // 3, rows - _RUN}
    chosen = sorted({row for start in starts for row in range(start, min(rows, start + _RUN))})
    gaps = [n for n in range(1, len(chosen)) if chosen[n] != chosen[n - 1] + 1]
    bounds = [0, *gaps, len(chosen)]
    return [(chosen[one], chosen[other - 1] + 1) for one, other in pairwise(bounds)]


def _same(tensor: Derived, bits: Bits, exact: Exact, first: int) -> int:
    """Compare rows with the exact ones rounded to their type; return how many numbers differ in the last bit."""
    with mx.stream(cpu_stream()):
        wanted = mx.array(exact.astype(np.float32)).astype(tensor.dtype)
        mx.eval(wanted)
    return _judge(tensor, bits, bits_of(wanted).reshape(exact.shape), first, "an independent reader")


def _judge(tensor: Derived, ours: Bits, theirs: Bits, first: int, who: str) -> int:
    """Return how many numbers differ in their last bit. `Refused` where one differs by more."""
    size = tensor.dtype.size
    if ours.shape != theirs.shape:
        raise _differs(tensor, f"has the shape {list(ours.shape)} where {who} has {list(theirs.shape)}")
    one, other = (_values(bits.view(INTEGERS[size]), tensor.dtype) for bits in (ours, theirs))
    places = [_ordered(bits.view(INTEGERS[size]), size) for bits in (ours, theirs)]
    far = np.abs(places[0] - places[1])
    far[np.isnan(one) & np.isnan(other)] = 0
    if (far > 1).any():
        row, column = np.argwhere(far > 1)[0]
        number = int((far > 1).sum())
        raise _differs(
            tensor,
            f"is {one[row, column]:.6g} in row {first + row}, column {column}, where {who} has "
            f"{other[row, column]:.6g} ({number:,} of {far.size:,} numbers that were compared differ)",
        )
    return int(far.sum())


def _values(bits: Bits, dtype: mx.Dtype) -> NDArray[np.float32]:
    if dtype == mx.bfloat16:
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return bits.view(np.float16 if dtype == mx.float16 else np.float32).astype(np.float32)


def _ordered(bits: Bits, size: int) -> NDArray[np.int64]:
    """Return the place of each in the order of its values."""
    magnitude = (bits & ((1 << 8 * size - 1) - 1)).astype(np.int64)
    return np.where(bits.view(SIGNED[size]) < 0, -magnitude, magnitude)


def _same_repacked(
    weight: PackedWeight, way: Way, repack: Repack, files: TensorFiles, exact: Exact, first: int
) -> None:
    """Compare what MLX makes of repacked rows with the exact ones. `Refused` where they are not what is told."""
    if way.packing is None:
        return
    made = repack.read(files, first, first + len(exact))
    with mx.stream(cpu_stream()):
        values, steps = dequantized(made.parts, way.packing, way.dtype)
    allowed = (made.off + 2.0**-16) * steps if way.packing.mode == "affine" else made.off * steps
    off = np.abs(values - exact)
    with np.errstate(invalid="ignore"):
        wrong = ~((off <= allowed) | (np.isnan(values) & np.isnan(exact)))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise _refused(
            weight.name,
            weight.form,
            f"is {values[row, column]:.6g} in row {first + row}, column {column} as {way.packing.mode} of "
            f"{way.packing.bits} bits, where the source has {exact[row, column]:.6g}",
        )


def dequantized(parts: Sequence[Bits], packing: Precision, dtype: mx.Dtype) -> tuple[Exact, Exact]:
    """Return what MLX makes of codes, scales and biases, in float64, and the step of each number."""
    codes, *rest = (mx.array(part) for part in parts)
    group_size, bits, mode = packing
    if mode == "affine":
        scales, biases = (mx.view(part, dtype).astype(mx.float32) for part in rest)
        values = mx.dequantize(codes, scales, biases, group_size, bits)
        steps = mx.repeat(mx.abs(scales), group_size, -1)
    else:
        values = mx.dequantize(codes, rest[0], None, group_size, bits, mode, dtype=mx.float32)
        steps = mx.abs(values)
    return np.array(values).astype(np.float64), np.array(steps).astype(np.float64)


def wholes(derived: Mapping[str, Derived]) -> list[Derived]:
    """Return the packed weights that MLX is to compute whole.

    They are the smallest weight of each kind, and more of them while they cost little, the smallest ones first.
    """
    return list(_wholes([tensor for tensor, _ in packed_weights(derived)]))


def _wholes(tensors: Sequence[Derived]) -> Iterator[Derived]:
    kinds, left = set[Any](), max(_WHOLE, sum(prod(tensor.shape) for tensor in tensors) // _SHARE)
    for tensor in sorted(tensors, key=lambda tensor: prod(tensor.shape)):
        weight, size = weight_of(tensor), prod(tensor.shape)
        if weight is None:
            continue
        kind = weight.form, tuple(map(bool, weight.block)), tuple(sorted(weight.options.items()))
        if kind not in kinds or weight.form not in _READERS or size <= left:
            kinds.add(kind)
            left -= size
            yield tensor


def _loaded(tensor: Derived, files: TensorFiles) -> dict[str, mx.array]:
    arrays: dict[str, mx.array] = {}
    for name in tensor.takes:
        loaded: Any = mx.load(str(files.stored[name].path), stream=mx.cpu)
        arrays[name] = loaded[name]
    return arrays


def compare_whole(tensor: Derived, arrays: Mapping[str, mx.array], files: TensorFiles) -> None:
    """Compare a weight whole as MLX computes it of the arrays that it takes. `Refused` where it differs."""
    with _reading(tensor), mx.stream(cpu_stream()):
        array = tensor.array(arrays)
        mx.eval(array)
    if tuple(array.shape) != tuple(tensor.shape) or array.dtype != tensor.dtype:
        raise _differs(tensor, f"has the shape {list(array.shape)} as MLX computes it")
    rows, _ = count(tensor.shape)
    _judge(tensor, tensor.read(files, 0, rows), bits_of(array).reshape(rows, -1), 0, "MLX")


def _differs(tensor: Derived, what: str) -> Refused:
    weight = weight_of(tensor)
    return _refused(tensor.name, weight.form if weight else "", what)


def _refused(name: str, form: str, what: str) -> Refused:
    return Refused(
        f"two readers of its quantized weights ({form}) do not agree: {name[:200]} {what}",
        check="source-read",
        remedy="Use the model that it was made from, and report this with the name of the source.",
    )
