"""How scales lie beside a weight: one for all of it, or one for each matrix, row, column or block of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from mlx_publish.errors import Refused
from mlx_publish.model.weights import TensorInfo

Sizes = tuple[tuple[int, int], ...]
"""Rows and columns of blocks."""
_MOST = 32
"""Sizes that are tried on each weight; real configs name one or two."""
_LISTS = ("config_groups", "quantized_layers")
_SIDES = re.compile(r"(\d{1,6})x(\d{1,6})")


@dataclass(frozen=True)
class Grid:
    """Rows and columns that share a scale, 0 for all of them, and whether each matrix of a stack has its own."""

    block: tuple[int, int]
    each: bool


def declared_sizes(block: Mapping[str, object]) -> Sizes:
    """Return the sizes of blocks that a config names; a group of numbers of a row is a block of one row.

    Sources: `weight_block_size` (DeepSeek, MiniMax), `config_groups` with `block_structure` or `group_size`
    (compressed-tensors), `group_size` and `quantized_layers` (ModelOpt).
    """
    return tuple(dict.fromkeys(size for part in _parts(block) for size in _sizes_in(part)))[:_MOST]


def _parts(block: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    nested = block.get("quantization")
    for part in (block, nested):
        if isinstance(part, Mapping):
            yield part
            for key in _LISTS:
                listed = part.get(key)
                for entry in listed.values() if isinstance(listed, Mapping) else ():
                    if isinstance(entry, Mapping):
                        weights = entry.get("weights")
                        yield weights if isinstance(weights, Mapping) else entry


def _sizes_in(part: Mapping[str, object]) -> Iterator[tuple[int, int]]:
    for key in ("weight_block_size", "block_structure"):
        sides = part.get(key)
        if isinstance(sides, str) and (match := _SIDES.fullmatch(sides)):
            sides = [int(match[1]), int(match[2])]
        if isinstance(sides, list) and len(sides) == 2 and all(type(side) is int and side > 0 for side in sides):
            yield sides[0], sides[1]
    group = part.get("group_size")
    if type(group) is int and group > 0:
        yield 1, group


def grid_of(shape: Sequence[int], scales: Sequence[int], sizes: Sizes, *, turned: bool = False) -> Grid | None:
    """Return how scales of one shape lie on a weight of another, (rows, columns) or a stack of them; None: not at all.

    With `turned`, scales of (columns, 1) are for columns: FBGEMM's for experts that are stored as (in, out).
    """
    rows, columns = shape[-2:]
    if prod(scales) == 1:
        return Grid((0, 0), each=False)
    own = tuple(scales)
    if len(shape) > 2:
        if not own or own[0] != shape[0]:
            return None
        own = own[1:]
    if len(own) == 4 and own[1] == own[3] == 1:  # ModelOpt's blocks
        own = (own[0], own[2])
    block = _block(rows, columns, own, sizes, turned=turned)
    return Grid(block, each=len(shape) > 2) if block else None


def _block(rows: int, columns: int, scales: tuple[int, ...], sizes: Sizes, *, turned: bool) -> tuple[int, int] | None:
    if prod(scales) == 1:
        return 0, 0
    if scales == (1, columns) or (turned and scales == (columns, 1)):
        return 0, 1
    if scales in ((rows,), (rows, 1)):
        return 1, 0
    fitting = {
        (height if height < rows else 0, width if width < columns else 0)
        for height, width in sizes
        if scales == (-(-rows // height), -(-columns // width))
    }
    return fitting.pop() if len(fitting) == 1 else None


def misfit(scales: TensorInfo, shape: Sequence[int], sizes: Sizes) -> Refused:
    """Return what refuses scales that do not lie on a weight of a shape."""
    named = " or ".join(f"{height} x {width}" for height, width in sizes[:4])
    blocks = f"in blocks of {named}" if named else "with one scale for each block, row or tensor"
    return Refused(
        f"has the shape {list(scales.shape)}, which does not fit a weight of {list(shape)} {blocks}",
        check="weights-numbers",
        place=scales.name[:200],
        remedy="Compare quantization_config with the weights; download the source again if it is not whole.",
    )


def missing(name: str, lacking: str) -> Refused:
    """Return what refuses a weight that lacks one of its tensors."""
    return Refused(
        f"holds quantized numbers, but {lacking[:200]} is not in the source",
        check="weights-numbers",
        place=name[:200],
        remedy="Complete the source, or choose the unquantized model.",
    )
