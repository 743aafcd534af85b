"""Norms of another convention: stored as 1 + w where the MLX class adds the one, or as w where it adds none.

Some architectures store the scale of a norm less one. Their MLX classes compute with plain scales and add the one in
`sanitize`, told by marks of a raw checkpoint as the layout of a convolution. A file that mixes the marks, as merges
and conversions back leave it, is shifted twice or not at all; nothing else about it looks wrong.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx import nn

from mlx_publish.evidence.conversion import NormKinds

_ALL = 0.9  # share of the norms of a model that has to say the same
_NEGATIVE = 0.1  # share of a tensor; a trained scale has next to none, w has half of them
_STRAY = 0.01
_TWICE = (1.6, 2.6)  # mean of 1 + (1 + w); of a trained 1 + w the norms differ from each other by far more
_MISSING = 0.4  # mean of w alone
_APART = 0.15  # how tightly groups lie around 0, 1 or 2; what was trained as one kind is spread wider
_FEW = 3  # norms of a kind from which on their means say something
_TWO = 2


@dataclass(frozen=True)
class Norm:
    """One scale as the built model has it."""

    kind: str
    """Its path without numbers."""
    mean: float
    below_zero: float
    """Share of the numbers that are negative."""
    below_one: float


def norms(model: nn.Module) -> NormKinds:
    """Return kinds of norms that show the other convention: shifted `twice`, `missing` the shift, or `mixed` by layers.

    Only classes that shift have any, and only plain evidence counts: a trained scale may be anything.
    """
    return kinds_of([measured(path, scale) for path, scale in shifted(model).items()])


def kinds_of(scales: Sequence[Norm]) -> NormKinds:
    """Return what `norms` does, of scales that are measured."""
    if not scales:
        return NormKinds()
    kinds = sorted({norm.kind for norm in scales})
    if sum(_is_twice(norm) for norm in scales) / len(scales) >= _ALL:
        return NormKinds(twice=kinds)
    if sum(_is_missing(norm) for norm in scales) / len(scales) >= _ALL:
        return NormKinds(missing=kinds)
    return NormKinds(mixed=[kind for kind in kinds if _are_mixed([norm for norm in scales if norm.kind == kind])])


def _is_twice(norm: Norm) -> bool:
    return _TWICE[0] < norm.mean < _TWICE[1] and norm.below_one < _STRAY


def _is_missing(norm: Norm) -> bool:
    return abs(norm.mean) < _MISSING and norm.below_zero > _NEGATIVE


def _are_mixed(same: list[Norm]) -> bool:
    """Return whether norms of one kind are not what those of the others, or of other layers, are."""
    if len(same) < _FEW:
        return False
    low, high = _groups(sorted(norm.mean for norm in same))
    near = [
        abs(_mean(group) - round(_mean(group))) < _APART and group[-1] - group[0] < 2 * _APART
        for group in (low, high)
        if group
    ]
    if high:
        return all(near) and round(_mean(high)) - round(_mean(low)) == 1 and round(_mean(low)) in (0, 1)
    return all(_is_missing(norm) for norm in same) or (
        all(near) and round(_mean(low)) == _TWO and all(_is_twice(norm) for norm in same)
    )


def _groups(means: list[float]) -> tuple[list[float], list[float]]:
    """Cut at the largest gap where it is nearly one; else all are one group."""
    gaps = [after - before for before, after in itertools.pairwise(means)]
    if max(gaps) < 1 - 2 * _APART:
        return means, []
    cut = gaps.index(max(gaps)) + 1
    return means[:cut], means[cut:]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def shifted(model: nn.Module) -> dict[str, mx.array]:
    """Return by their paths the scales that count, lazily: those by which a class that shifts multiplies as they are.

    A norm of a class of its own may add something.
    """
    if not _shifts(model):
        return {}
    return {path: module.weight for path, module in model.named_modules() if type(module) is nn.RMSNorm}


def measured(path: str, weight: mx.array) -> Norm:
    """Measure the scale of the norm at a path."""
    scale = weight.astype(mx.float32)
    means: list[Any] = [mx.mean(values).item() for values in (scale, scale < 0, scale < 1)]
    return Norm(kind_of(path), *map(float, means))


def kind_of(path: str) -> str:
    """Return the path of a norm without numbers."""
    return re.sub(r"\d+\.", "", path)


def _shifts(model: nn.Module) -> bool:
    """Return whether a class in the model adds one to weights in `sanitize`; nothing but its code shows it."""
    classes = {kind for module in model.modules() for kind in type(module).__mro__ if "sanitize" in vars(kind)}
    return any(_adds_one(vars(kind)["sanitize"]) for kind in classes)


def _adds_one(function: Any) -> bool:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError, TypeError):
        return False
    return any(
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.BinOp)
        and isinstance(node.value.op, ast.Add)
        and isinstance(node.value.right, ast.Constant)
        and node.value.right.value == 1
        and "norm" in ast.unparse(tree)
        for node in ast.walk(tree)
    )
