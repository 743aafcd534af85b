"""What the methods that learn share: their order, progress, layers that the class keeps, and the config's block."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten, tree_unflatten

from mlx_publish.engine.backends import backend
from mlx_publish.engine.loading import on_gpu
from mlx_publish.engine.made_on import made_on
from mlx_publish.evidence.conversion import KeptLayers, Learned, VariantOrder
from mlx_publish.text.progress import Step, Tell

Samples = Sequence[Sequence[int]]
Ways = dict[str, "bool | dict[str, Any]"]
"""By path of a module, how its class wants it: False for whole, else bits and group size."""


@dataclass(frozen=True)
class Lesson:
    """What a method is to learn from."""

    order: VariantOrder
    samples: Samples
    """Ids that a model reads in one go, each sample from its own beginning."""
    apart: Samples
    """Samples of other documents, for a method that judges itself by what it did not learn from."""
    settings: Mapping[str, float]
    tell: Tell

    def learned(self, **more: Any) -> Learned:
        """Return the record of it."""
        return Learned(made_on(), len(self.samples), max(map(len, self.samples)), **more)


class Taught(NamedTuple):
    """What came of it: the model with all numbers in memory, its config, what its class keeps, and the record."""

    model: nn.Module
    config: dict[str, Any]
    kept: KeptLayers
    learned: Learned


def rectangle(samples: Samples) -> mx.array:
    """Return samples of one length, as many numbers as possible: shorter ones are left out, longer ones cut."""
    lengths = sorted({len(sample) for sample in samples})
    length = max(lengths, key=lambda length: length * sum(len(sample) >= length for sample in samples))
    return mx.array(np.array([sample[:length] for sample in samples if len(sample) >= length], np.int32))


def wide(model: nn.Module) -> None:
    """Let a model compute in float32 on a CPU, which is slow in half precision; a GPU computes in the model's type."""
    if on_gpu():
        return
    cast_each(model, lambda _, array: mx.float32 if mx.issubdtype(array.dtype, mx.floating) else array.dtype)


def cast_each(model: nn.Module, dtype_of: Callable[[str, mx.array], mx.Dtype]) -> None:
    """Compute all arrays of a model in other types, one at a time, so that what they were made of can go."""
    arrays = dict(tree_flatten(model.parameters()))
    for path in list(arrays):
        array = arrays.pop(path)
        cast = array.astype(dtype_of(path, array))
        mx.eval(cast)
        model.update(tree_unflatten([(path, cast)]))


def kept_by_class(model: nn.Module, order: VariantOrder) -> Ways:
    """Return what the class of a model does not quantize as all others."""
    chosen = backend().predicate(model, order)
    asked = {"bits": order.bits, "group_size": order.group_size}
    ways: Ways = {}
    for path, module in _leaves(model):
        if chosen is None or not hasattr(module, "to_quantized"):
            continue
        way = chosen(path, module)
        if way is False or (isinstance(way, dict) and {**asked, **way} != asked):
            ways[path] = way
    return ways


@contextmanager
def aside(model: nn.Module, ways: Ways) -> Iterator[None]:
    """Hide layers from a quantizer; afterwards they are as their class wants them."""
    modules = {path: module for path, module in _leaves(model) if path in ways}
    model.update_modules(tree_unflatten([(path, _Hidden(module)) for path, module in modules.items()]))
    yield
    back = [
        (path, module.to_quantized(**way) if isinstance(way := ways[path], dict) else module)
        for path, module in modules.items()
    ]
    model.update_modules(tree_unflatten(back))


def kept_layers(ways: Ways, bits: int | None, fallback: Mapping[str, int]) -> KeptLayers:
    """Return the record of layers that are not as all others."""
    wider = {
        path: int(way["bits"]) for path, way in ways.items() if isinstance(way, dict) and way["bits"] > (bits or 0)
    }
    return KeptLayers(wider, [path for path, way in ways.items() if way is False], fallback=fallback)


def told(config: dict[str, Any], model: nn.Module, order: VariantOrder) -> dict[str, Any]:
    """Return the config with what is true of each quantized module."""
    block: dict[str, Any] = {"group_size": order.group_size, "bits": order.bits, "mode": "affine"}
    for path, module in _leaves(model):
        if "scales" in module:
            own = {"group_size": module.group_size, "bits": module.bits}
            if own != {key: block[key] for key in own}:
                block[path] = own
    return {**copy.deepcopy(config), "quantization": block, "quantization_config": block}


@contextmanager
def progress_of(module: Any, tell: Tell, what: str, unit: str) -> Iterator[None]:
    """Send what a module of mlx-lm tells by tqdm to our own progress; what it prints goes to the log of the child."""
    before = module.tqdm
    module.tqdm = _Progress(tell, what, unit)
    try:
        yield
    finally:
        module.tqdm = before


class _Progress:
    """Stands where tqdm does."""

    def __init__(self, tell: Tell, what: str, unit: str) -> None:
        self._tell, self._what, self._unit = tell, what, unit

    def __call__(self, steps: Iterable[Any], desc: str = "", **_more: Any) -> Iterator[Any]:
        all_steps = list(steps)
        what = f"{self._what}: {desc[0].lower()}{desc[1:]}" if desc else self._what
        for done, step in enumerate(all_steps):
            self._tell(Step(what, done, len(all_steps), "steps" if desc else self._unit))
            yield step

    def write(self, text: str) -> None:
        """Print to the log."""
        print(text, flush=True)


class _Hidden(nn.Module):
    """Stands for a module that a quantizer must not see, and computes as it does."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "_module", module)  # else it would be a part of this one

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return object.__getattribute__(self, "_module")(*args, **kwargs)

    def __getattr__(self, key: str) -> Any:
        if key == "to_quantized":
            raise AttributeError(key)
        return getattr(object.__getattribute__(self, "_module"), key)


def _leaves(model: nn.Module) -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = tree_flatten(model.leaf_modules(), is_leaf=nn.Module.is_module)
    return leaves
