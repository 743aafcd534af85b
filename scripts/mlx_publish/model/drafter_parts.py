"""The tensors of a drafter, each with those of the source that it is made of and how."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mlx_publish.model.names import shown
from mlx_publish.model.weights import TensorInfo

SAME, PLUS_ONE, STACKED = "same", "plus one", "stacked"
FIRST_HALF, SECOND_HALF, KEYS, VALUES = "first half", "second half", "keys", "values"
_NORM = re.compile(r"norm(?:_embedding|_hidden)?\.weight$")
_EXPERT = re.compile(r"(.*)\.experts\.(\d{1,6})\.(\w+)\.weight")
_FUSED = re.compile(r"(.*)\.experts\.(gate_up_proj|down_proj)(?:\.weight)?")
_SHARED_ROWS = "self_attn.kv_b_proj.weight"
_MATRIX, _STACK = 2, 3


class Unfit(ValueError):
    """Heads of which no drafter can be made; the message says why, in words for the user."""


@dataclass(frozen=True)
class Part:
    """One tensor of a drafter."""

    name: str
    how: str
    """`same`: byte by byte; `plus one`: a scale that the source stores less one; `stacked`: experts, one after the
    other; `first half` and `second half`: of the rows of each expert; `keys` and `values`: of rows that both share."""
    sources: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    """As safetensors names it."""
    split: int = 0
    """Of `keys` and `values`: rows of a head that are keys."""


def parts_of(
    own: Mapping[str, TensorInfo], config: Mapping[str, object], *, shifted: bool, experts: Mapping[str, str]
) -> Iterator[Part]:
    """Yield what mlx-vlm makes of tensors, by the names that they have here. Raises `Unfit` as `drafter_of` does."""
    groups: dict[tuple[str, str], dict[int, TensorInfo]] = {}
    for name, tensor in own.items():
        if found := _EXPERT.fullmatch(name):
            groups.setdefault((found[1], found[3]), {})[int(found[2])] = tensor
        elif found := _FUSED.fullmatch(name):
            yield from _fused(found[1], found[2], tensor)
        elif name.endswith(_SHARED_ROWS):
            yield from _absorbed(name.removesuffix("kv_b_proj.weight"), tensor, config)
        else:
            plus = shifted and len(tensor.shape) == 1 and _NORM.search(name)
            yield Part(name, PLUS_ONE if plus else SAME, (tensor.name,), tensor.shape, tensor.dtype)
    for (stem, projection), group in groups.items():
        yield _stacked(f"{stem}.switch_mlp.{experts.get(projection, projection)}.weight", group)


def _stacked(name: str, group: Mapping[int, TensorInfo]) -> Part:
    """Return experts as one tensor."""
    first, count = next(iter(group.values())), len(group)
    if sorted(group) != list(range(count)):
        raise Unfit(f"its heads are not whole: an expert beside {shown(first.name)} is missing")
    for tensor in group.values():
        if (tensor.shape, tensor.dtype) != (first.shape, first.dtype):
            raise Unfit(f"{shown(tensor.name)} has another shape or type than {shown(first.name)}")
    sources = tuple(group[number].name for number in range(count))
    return Part(name, STACKED, sources, (count, *first.shape), first.dtype)


def _fused(stem: str, projection: str, tensor: TensorInfo) -> Iterator[Part]:
    """Yield the parts of a tensor that has all experts already."""
    if len(tensor.shape) != _STACK:
        raise Unfit(f"{shown(tensor.name)} has {len(tensor.shape)} dimension(s), and experts have 3")
    if projection == "down_proj":
        yield Part(f"{stem}.switch_mlp.down_proj.weight", SAME, (tensor.name,), tensor.shape, tensor.dtype)
        return
    count, rows, width = tensor.shape
    for half, name in ((FIRST_HALF, "gate_proj"), (SECOND_HALF, "up_proj")):
        shape = (count, rows // 2, width)
        yield Part(f"{stem}.switch_mlp.{name}.weight", half, (tensor.name,), shape, tensor.dtype)


def _absorbed(stem: str, tensor: TensorInfo, config: Mapping[str, object]) -> Iterator[Part]:
    """Yield the two matrices of each head that mlx-vlm multiplies by, of one that has the rows of both."""
    names = ("num_attention_heads", "qk_nope_head_dim", "v_head_dim")
    heads, keys, values = (value if type(value := config.get(name)) is int else 0 for name in names)
    if len(tensor.shape) != _MATRIX or min(heads, keys, values) <= 0 or tensor.shape[0] != heads * (keys + values):
        raise Unfit(f"{shown(tensor.name)} does not have the rows that config.json gives it")
    width = tensor.shape[1]
    yield Part(f"{stem}embed_q.weight", KEYS, (tensor.name,), (heads, width, keys), tensor.dtype, keys)
    yield Part(f"{stem}unembed_out.weight", VALUES, (tensor.name,), (heads, values, width), tensor.dtype, keys)
