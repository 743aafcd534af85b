"""Compare published weights with those of another conversion, tensor by tensor, in pieces of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlx_publish.engine.placed import Placed, pieces, placed
from mlx_publish.engine.steps import ULPS, Codes, Numbers, Tally
from mlx_publish.errors import Refused
from mlx_publish.evidence.weight_differences import LARGE, Part, TensorDifference, WeightDifferences
from mlx_publish.model.weights import DTYPE_BITS
from mlx_publish.text.progress import Step, Tell, counted

PIECE = 1 << 20
"""Bytes of a tensor in memory at a time, on each side."""
_MOST_NAMED, _LONGEST = 100, 200
"""Names of foreign tensors that are kept, and characters of foreign words."""
_WIDTHS = frozenset({2, 3, 4, 5, 6, 8})
_SMALL_FLOATS = frozenset({"mxfp4", "mxfp8", "nvfp4"})
_ULP = 1
"""Of a value that is not quantized."""
Tensors = dict[str, Placed]


@dataclass(frozen=True)
class _Sides:
    """The tensors of both models by name, and how those of the rebuilt one are quantized."""

    published: Tensors
    rebuilt: Tensors
    untouched: Tensors
    """Of the rebuilt model, in files that are published as they are."""
    quantization: Mapping[str, object]

    @cached_property
    def ours(self) -> Tensors:
        """All tensors of the rebuilt model."""
        return self.untouched | self.rebuilt

    @cached_property
    def codes(self) -> Mapping[str, Codes]:
        """The quantized weights of the rebuilt model."""
        return {name: codes for name in self.ours if (codes := self._codes(name))}

    @cached_property
    def parts(self) -> Mapping[str, Part]:
        """What the tensors of quantized modules are."""
        parts: dict[str, Part] = {}
        for name in self.codes:
            stem = name.rpartition(".")[0]
            parts |= {name: "codes", f"{stem}.scales": "scales", f"{stem}.biases": "biases"}
        return parts

    def alike(self, name: str) -> bool:
        """Return whether a tensor of the rebuilt model is published with its type and shape."""
        theirs = self.published.get(name)
        return theirs is not None and theirs.info == self.rebuilt[name].info

    def values(self, name: str) -> int:
        """Return how many values a tensor of the rebuilt model has."""
        tensor, codes = self.ours[name], self.codes.get(name)
        return tensor.info.nbytes * 8 // (codes.bits if codes else _numbers(tensor).width)

    def _codes(self, name: str) -> Codes | None:
        stem, _, leaf = name.rpartition(".")
        weight, scales = self.ours[name], self.ours.get(f"{stem}.scales")
        if leaf != "weight" or weight.info.dtype != "U32" or scales is None:
            return None
        own = self.quantization.get(stem)
        block = own if isinstance(own, Mapping) else self.quantization
        bits, group, mode = block.get("bits"), block.get("group_size"), block.get("mode", "affine")
        if not isinstance(bits, int) or not isinstance(group, int) or bits not in _WIDTHS or group < 8 or group % 8:
            return None
        fits = weight.info.nbytes * 8 == scales.info.size * group * bits
        return Codes(bits, mode in _SMALL_FLOATS, group, _numbers(scales)) if fits else None


def differences(
    published: Sequence[tuple[str, str]],
    rebuilt: Sequence[tuple[str, str]],
    untouched: Sequence[tuple[str, str]],
    quantization: Mapping[str, object],
    progress: Tell,
    piece: int = PIECE,
) -> WeightDifferences:
    """Compare all tensors of the `published` files with those of the `rebuilt` ones.

    Files are pairs of their name and path. `untouched` are files of the rebuilt model that are published as they are:
    only their headers are read. `quantization` is the block of the rebuilt model's config.json. `piece` are the bytes
    of a tensor in memory at a time.
    """
    (ours, _), (same, _) = _by_name(rebuilt), _by_name(untouched)
    try:
        theirs, twice = _by_name(published)
    except Refused as error:
        return WeightDifferences(len(ours) + len(same), 0, unreadable=str(error)[: 2 * _LONGEST])
    sides = _Sides(theirs, ours, same, quantization)
    extra = [name for name in theirs if name not in ours] + twice
    values = [name for name in ours if sides.parts.get(name, "codes") == "codes"]
    return WeightDifferences(
        tensors=len(sides.ours),
        large=sum(sides.values(name) >= LARGE for name in sides.codes),
        values=sum(map(sides.values, values)),
        changed=list(_changed(sides, progress, piece)),
        missing=[name for name in ours if name not in theirs],
        extra=[name[:_LONGEST] for name in extra[:_MOST_NAMED]],
        extra_count=len(extra),
        reshaped={n: _shapes(theirs[n], ours[n]) for n in ours if n in theirs and not sides.alike(n)},
    )


def _by_name(files: Sequence[tuple[str, str]]) -> tuple[Tensors, list[str]]:
    """Return the tensors of all files, and the names that more than one file has."""
    tensors: Tensors = {}
    twice = []
    for name, path in files:
        for tensor in placed(name, Path(path)):
            if tensor.info.name in tensors:
                twice.append(tensor.info.name)
            tensors[tensor.info.name] = tensor
    return tensors, twice


def _shapes(*sides: Placed) -> str:
    return " instead of ".join(f"{side.info.dtype} {list(side.info.shape)}" for side in sides)


def _numbers(tensor: Placed) -> Numbers:
    width = DTYPE_BITS[tensor.info.dtype]
    return Numbers(tensor.info.dtype, width if width in (8, 16, 32, 64) else 8)


def _changed(sides: _Sides, progress: Tell, piece: int) -> Iterator[TensorDifference]:
    units = list(_units(sides))
    sizes = {unit: sum(sides.rebuilt[name].info.nbytes for name in unit) for unit in units}
    step = Step("comparing weights", 0, sum(sizes.values()))
    for unit in counted(units, sizes.__getitem__, progress, step):
        tallies = _module(sides, unit, piece) if len(unit) > 1 else [_alone(sides, unit[0], piece)]
        for name, tally in zip(unit, tallies, strict=True):
            if tally.differ or tally.zeros:
                yield _difference(sides, name, tally)


def _units(sides: _Sides) -> Iterator[tuple[str, ...]]:
    """Yield the names of tensors that are compared together: a quantized weight with its scales and biases."""
    done: set[str] = set()
    for name in filter(sides.alike, sides.rebuilt):
        stem = name.rpartition(".")[0]
        module = tuple(path for leaf in ("weight", "scales", "biases") if (path := f"{stem}.{leaf}") in sides.rebuilt)
        whole = name in module and module[0] in sides.codes and f"{stem}.scales" in module
        unit = module if whole and all(map(sides.alike, module)) else (name,)
        if name not in done:
            yield unit
        done.update(unit)


def _alone(sides: _Sides, name: str, piece: int) -> Tally:
    """Compare one tensor by itself."""
    tally, part, ours = Tally(), sides.parts.get(name, "values"), sides.rebuilt[name]
    codes, numbers = sides.codes.get(name), _numbers(ours)
    unit = codes.bits if codes else numbers.width // 8
    for pair in pieces(ours, sides.published[name], max(1, piece // unit) * unit):
        if pair[0] == pair[1]:
            continue
        if codes:
            codes.tally(pair, tally, None)
        else:
            numbers.tally(pair, tally, most=_ULP if part == "values" else ULPS)
    return tally


def _module(sides: _Sides, unit: Sequence[str], piece: int) -> list[Tally]:
    """Compare a quantized weight, its scales and its biases group by group."""
    codes, tallies = sides.codes[unit[0]], [Tally() for _ in unit]
    groups = max(1, piece * 8 // (codes.group * codes.bits))
    sizes = [codes.group * codes.bits // 8] + [codes.scales.width // 8] * (len(unit) - 1)
    streams = [
        pieces(sides.rebuilt[name], sides.published[name], groups * size)
        for name, size in zip(unit, sizes, strict=True)
    ]
    for weight, scales, *biases in zip(*streams, strict=True):
        same_bias = None
        for pair in biases:
            same_bias = codes.scales.of(pair[0]) == codes.scales.of(pair[1])
            codes.scales.tally(pair, tallies[2], most=ULPS)
        regrouped = codes.tally_scales(scales, tallies[1], same_bias)
        if weight[0] != weight[1]:
            codes.tally(weight, tallies[0], regrouped)
    return tallies


def _difference(sides: _Sides, name: str, tally: Tally) -> TensorDifference:
    codes = sides.codes.get(name)
    return TensorDifference(
        name=name,
        part=sides.parts.get(name, "values"),
        dtype=f"{codes.bits} bits" if codes else sides.rebuilt[name].info.dtype,
        values=sides.values(name),
        differ=tally.differ,
        largest=tally.largest,
        mean=tally.steps / tally.differ if tally.differ else 0.0,
        zeros=tally.zeros,
        regrouped=tally.regrouped,
        unlikely=tally.unlikely,
        far=tally.far,
    )
