"""What a variant makes of a parameter of the source, row by row: cast it, quantize it, or leave it as it is."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from mlx_publish.engine.graph import Graph
from mlx_publish.engine.repacked import RepackedRows
from mlx_publish.engine.rounding import Precision, is_supported, quantize_rows_each
from mlx_publish.engine.rows import INTEGERS, SIGNED, Bits, Rows, bits_of
from mlx_publish.engine.weighted import quantize_rows, weights_of

_INFINITE = {mx.bfloat16: 0x7F80, mx.float16: 0x7C00, mx.float32: 0x7F800000}
"""Bits without their sign: from here on everything is infinity or NaN."""
_PARTS = ("weight", "scales", "biases")
_BOUND = re.compile(r"\.(?:in|out)put_(?:min|max)$")
_LOCAL = threading.local()
_FEW = 3
"""Cores up to which numpy converts affine modes."""


@dataclass(frozen=True)
class Way:
    """What becomes of one parameter: the tensors that it gives, its type before it is packed, and how it is packed."""

    names: tuple[str, ...]
    dtype: mx.Dtype
    packing: Precision | None = None
    importance: str = ""
    """For each column a step by which its scales are chosen, as `weighted.weights_of` reads it; empty for MLX's own."""
    repack: RepackedRows | None = None
    """What takes the source's integers as they are; None where they are rounded."""


@dataclass(frozen=True)
class Piece:
    """Some rows of a tensor that was made: its bits, and what is to know of them."""

    name: str
    bits: Bits
    largest: int
    """The bits of the largest magnitude, which is 0 where all are zero; 1 for what are no floats."""
    finite: bool


References = dict[str, list[mx.array]]
"""By the path of a module, what MLX makes of its weight with the module's settings, lazily."""


def references(model: nn.Module, typed: Mapping[str, mx.Dtype], source: Mapping[str, mx.array]) -> References:
    """Return what each quantized module should hold; `source` are the source's parameters by their paths."""
    made: References = {}
    for path, module in model.named_modules():
        weight, packing = _stem(path) + "weight", _packing(module)
        if packing and weight in source and weight in typed:
            with contextlib.suppress(ValueError):  # MLX packs no such array, so something else was done to it
                made[path] = list(mx.quantize(_typed(source[weight], typed[weight]), *packing))
    return made


def ways(graph: Graph, model: nn.Module, typed: Mapping[str, mx.Dtype], expected: References) -> dict[str, Way]:
    """Return by parameter of the source what a variant's model makes of it; what is made otherwise is left out.

    `typed` are the types of the variant's parameters before anything was quantized, `expected` what `references` gives;
    the graph has the arrays of both.
    """
    arrays: dict[str, mx.array] = dict(tree_flatten(model.parameters()))
    made: dict[str, Way] = {}
    for path, module in model.named_modules():
        names = tuple(_stem(path) + part for part in _PARTS if _stem(path) + part in arrays)
        packing = _packing(module)
        if packing and path in expected and _alike(graph, [arrays[name] for name in names], expected[path]):
            made[_stem(path) + "weight"] = Way(names, typed[_stem(path) + "weight"], packing)
    taken = {name for way in made.values() for name in way.names}
    for name, array in arrays.items():
        key = graph.key(array)
        if name not in taken and (graph.source.get(key) or graph.source.get(_uncast(graph, key))) == name:
            made[name] = Way((name,), array.dtype)
    return made


def by_importance(made: Mapping[str, Way], importance: Mapping[str, str]) -> tuple[dict[str, Way], list[str]]:
    """Return ways that pack by the importance of columns, and the modules that cannot: their class packs otherwise.

    `importance` has a step for each column by the path of a module.
    """
    weights = {path: f"{_stem(path)}weight" for path in importance}
    able = {path: name for path, name in weights.items() if name in made and made[name].packing}
    weighted = {name: replace(made[name], importance=importance[path]) for path, name in able.items()}
    return {**made, **weighted}, [path for path in importance if path not in able]


def _stem(path: str) -> str:
    return f"{path}." if path else ""


def _typed(array: mx.array, dtype: mx.Dtype) -> mx.array:
    return array if array.dtype == dtype else array.astype(dtype)


def _alike(graph: Graph, arrays: Sequence[mx.array], expected: Sequence[mx.array]) -> bool:
    """Return whether arrays are made of the source by the same operations; MLX has several for one mode."""
    if [(array.shape, array.dtype) for array in arrays] != [(array.shape, array.dtype) for array in expected]:
        return False
    pairs = zip(arrays, expected, strict=True)
    return all(graph.form(graph.key(one)) == graph.form(graph.key(other)) for one, other in pairs)


def _packing(module: Any) -> Precision | None:
    """Return how a module is packed by its own account; None if it is not."""
    bits, group_size = getattr(module, "bits", None), getattr(module, "group_size", None)
    if not isinstance(bits, int) or not isinstance(group_size, int) or "scales" not in module:
        return None
    return Precision(group_size, bits, str(getattr(module, "mode", "affine")))


def _uncast(graph: Graph, key: str) -> str:
    """Return the key of what an array was cast from once; its own where it was not."""
    operation = graph.made_by(key)
    return operation.takes[0] if operation.name == "AsType" else key


def make(rows: Rows, bits: Bits, first: int, all_ways: Sequence[Way]) -> list[list[Piece]]:
    """Return what each way makes of the rows of a parameter from `first` on, in a thread of its own."""
    with mx.stream(cpu_stream()):
        in_type = {dtype: _cast(bits, rows.dtype, dtype) for dtype in {way.dtype for way in all_ways}}
        nearest = [way for way in all_ways if way.packing and not way.importance and not way.repack]
        made = _packed(in_type, [way for way in nearest if way.packing and _is_quick(way.dtype, bits, way.packing)])
        for way in all_ways:
            if way.repack:
                made[way] = way.repack.read(first, first + len(bits))
            elif way.packing and way.importance:
                integers = in_type[way.dtype].view(INTEGERS[way.dtype.size])
                made[way] = quantize_rows(integers, way.dtype, way.packing, weights_of(way.importance))
        return [_pieces(way, in_type[way.dtype], made.get(way)) for way in all_ways]


def _is_quick(dtype: mx.Dtype, bits: Bits, packing: Precision) -> bool:
    """Return whether numpy's loops are faster than MLX's kernel, which gives the same bytes.

    Python lets numpy's calls of two threads overlap, hardly those of more; MLX's kernels use any number of cores. They
    are slow for small floats alone.
    """
    return is_supported(dtype, bits.shape, *packing) and (packing.mode != "affine" or cores() <= _FEW)


@functools.cache
def cores() -> int:
    """Return how many threads convert."""
    return os.cpu_count() or 1


def _packed(in_type: Mapping[mx.Dtype, Bits], all_ways: Sequence[Way]) -> dict[Way, list[Bits]]:
    """Quantize rows in each way; what ways of one type share is computed once."""
    made: dict[Way, list[Bits]] = {}
    for dtype, bits in in_type.items():
        of = {way: way.packing for way in all_ways if way.dtype == dtype and way.packing}
        if of:
            integers = bits.view(INTEGERS[dtype.size])
            made |= zip(of, quantize_rows_each(integers, dtype, list(of.values())), strict=True)
    return made


def _pieces(way: Way, bits: Bits, packed: list[Bits] | None) -> list[Piece]:
    if way.packing is None:
        return [judged(way.names[0], bits, way.dtype)]
    if packed is not None:
        types = [mx.uint32, *(way.dtype if way.packing.mode == "affine" else mx.uint8 for _ in packed[1:])]
    else:
        arrays = mx.quantize(_array(bits, way.dtype), *way.packing)
        mx.eval(arrays)
        packed, types = [bits_of(array) for array in arrays], [array.dtype for array in arrays]
    return [judged(name, part, of) for name, part, of in zip(way.names, packed, types, strict=True)]


def _cast(bits: Bits, dtype: mx.Dtype, to: mx.Dtype) -> Bits:
    """Return rows in another type, rounded as MLX does."""
    if dtype == to:
        return bits
    array = _array(bits, dtype).astype(to)
    mx.eval(array)
    return bits_of(array)


def judged(name: str, bits: Bits, dtype: mx.Dtype) -> Piece:
    """Return rows with what is to know of them."""
    if dtype not in _INFINITE or bits.size == 0:
        return Piece(name, bits, 1, finite=True)
    largest = _largest(bits.view(INTEGERS[dtype.size]))
    return Piece(name, bits, largest, finite=largest < _INFINITE[dtype])


def is_bound(name: str, piece: Piece) -> bool:
    """Return whether infinity is what a number means: a bound of what goes into a layer, or comes out of it.

    Gemma 4's encoders have four for each linear layer, and infinity where nothing is to be clipped.
    """
    return _BOUND.search(name) is not None and piece.bits.size == 1 and piece.largest in _INFINITE.values()


def _array(bits: Bits, dtype: mx.Dtype) -> mx.array:
    return mx.array(bits).view(dtype) if dtype in _INFINITE else mx.array(bits)


def _largest(integers: Bits) -> int:
    """Return the bits of the largest magnitude without its sign.

    As unsigned integers the bits of negative floats sort by magnitude above all others, as signed ones below.
    """
    sign = 1 << 8 * integers.itemsize - 1
    positive = int(integers.view(SIGNED[integers.itemsize]).max())
    return max(int(integers.max()) & (sign - 1), positive, 0)


def cpu_stream() -> Any:
    """Return the thread's own stream of the CPU, which gives the same bits on any machine; a GPU gives others."""
    if not hasattr(_LOCAL, "stream"):
        _LOCAL.stream = mx.new_stream(mx.cpu)
    return _LOCAL.stream
