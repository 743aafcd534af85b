"""A source in memory whose modules are measured one by one: their weights, sizes, kinds and floors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx import nn
from mlx.utils import tree_flatten, tree_map
from numpy.typing import NDArray

from mlx_publish.engine.backends import Predicate
from mlx_publish.engine.casting import TYPES, cast_as_stored
from mlx_publish.engine.loading import fit
from mlx_publish.engine.module_kinds import LEAST_GROUP, floor_of, kind_of, quantizable, wanted_by_class
from mlx_publish.engine.parameters import in_memory
from mlx_publish.engine.source_model import SourceModel, load_source
from mlx_publish.engine.towers import is_tower
from mlx_publish.errors import Refused
from mlx_publish.evidence.conversion import VariantOrder
from mlx_publish.evidence.sensitivities import Rung
from mlx_publish.recipes.plan import stored_bytes

_PROXY = (8, 64)
_ANY = VariantOrder("", "", quantize=True, bits=4, group_size=64, mode="affine", mixed=None, dtype=None)


@dataclass
class SensitiveSource:
    """The model in memory, fit for this machine, and what is to know of each module that can be quantized."""

    model: Any
    modules: dict[str, nn.Module]
    """By path, in the order of the model."""
    shapes: dict[str, tuple[int, ...]]
    """Of their weights, unpacked."""
    typed: mx.Dtype
    """That variants are stored in."""
    other_bytes: int
    """Of all that is never quantized."""
    other_weights: int
    computed_in: str
    chosen: Mapping[str, bool | dict[str, Any]]
    """What the class's own predicate says of each module."""

    @classmethod
    def of(cls, folder: Path, dtype: str | None, *, proxy: bool) -> SensitiveSource:
        """Load a source; with `proxy` in its 8-bit form. Raises `Refused` if it cannot be built."""
        source = load_source(folder)
        stored = source.build()
        name, _ = cast_as_stored(stored, dtype, source.config)
        typed = TYPES.get(str(name), mx.bfloat16)
        shapes = {path: tuple(module.weight.shape) for path, module in quantizable(stored).items()}
        taken = {
            path: way
            for path, way in wanted_by_class(stored, _ANY).items()
            if way is not False and shapes[path][-1] % LEAST_GROUP == 0
        }
        if not taken:
            raise Refused(
                "no module of the model can be quantized", check="converts", remedy="Use an unquantized variant (bf16)."
            )
        paths = [path for path, _ in tree_flatten(stored.parameters())]
        others = [  # bits per weight are those of the language model
            array
            for path, array in tree_flatten(stored.parameters())
            if path.removesuffix(".weight") not in taken and not is_tower(path)
        ]
        other_bytes, other_weights = sum(array.nbytes for array in others), sum(array.size for array in others)
        del stored, others
        model = _packed(source, lambda path, _: path in taken) if proxy else in_memory(source)
        computed_in = fit(model)
        named = dict(model.named_modules())
        order = dict.fromkeys(path.rpartition(".")[0] for path in paths)
        modules = {path: named[path] for path in order if path in taken}
        return cls(model, modules, shapes, typed, other_bytes, other_weights, computed_in, taken)

    def kind(self, path: str, *, head: bool) -> str:
        """Return what a module is; `head` says that its products are the logits."""
        return kind_of(path, self.modules[path], head=head)

    def floor(self, path: str, kind: str) -> int:
        """Return the fewest bits that a module may have."""
        return floor_of(path, kind, self.chosen[path])

    def bytes(self, path: str, rung: Rung) -> int:
        """Return the bytes of a weight at a rung."""
        return stored_bytes(prod(self.shapes[path]), *rung, self.typed.size)

    def rows(self, path: str, rows: NDArray[np.int64]) -> mx.array:
        """Return some rows of a weight (rows, columns), in the type that variants are stored in."""
        module: Any = self.modules[path]
        chosen = mx.array(rows)
        return self._unpacked(
            module, [module[part].reshape(-1, module[part].shape[-1])[chosen] for part in _parts(module)]
        )

    def _weight(self, path: str) -> mx.array:
        """Return a whole weight in the type that variants are stored in."""
        module: Any = self.modules[path]
        return self._unpacked(module, [module[part] for part in _parts(module)])

    def _unpacked(self, module: Any, parts: Sequence[mx.array]) -> mx.array:
        if len(parts) == 1:
            return parts[0].astype(self.typed)
        packed, scales, biases = parts
        return mx.dequantize(packed, scales, biases, module.group_size, module.bits).astype(self.typed)

    @contextmanager
    def _with(self, path: str, weight: mx.array) -> Iterator[None]:
        """Compute with another weight of a module; one of a proxy takes it in its own 8 bits."""
        module: Any = self.modules[path]
        before = {part: module[part] for part in _parts(module)}
        packed = len(before) > 1
        made = mx.quantize(weight, module.group_size, module.bits) if packed else [weight]
        module.update({part: new.astype(old.dtype) for (part, old), new in zip(before.items(), made, strict=True)})
        try:
            yield
        finally:
            module.update(before)

    def divergence(self, path: str, rung: Rung, texts: Sequence[Sequence[int]]) -> float:
        """Return the mean KL divergence over texts where one module alone is rounded to nearest, in nats a position."""
        bits, group = rung
        packed, scales, biases = mx.quantize(self._weight(path), group, bits)
        rounded = mx.dequantize(packed, scales.astype(mx.float32), biases.astype(mx.float32), group, bits)
        total = 0.0
        for text in texts:  # one by one: their logits are large
            ids = mx.array([list(text)])
            before = _log_probabilities(self.model(ids))
            with self._with(path, rounded):
                after = _log_probabilities(self.model(ids))
                mx.eval(after)
            total += float((mx.exp(before) * (before - after)).sum())
        return total / sum(map(len, texts))


def _parts(module: Any) -> tuple[str, ...]:
    return ("weight", "scales", "biases") if "scales" in module else ("weight",)


def _log_probabilities(logits: mx.array) -> mx.array:
    wide = logits.astype(mx.float32)
    return wide - mx.logsumexp(wide, axis=-1, keepdims=True)


def _packed(source: SourceModel, predicate: Predicate) -> nn.Module:
    """Return the source in 8 bits, computed module by module: no more of it is in memory at once."""
    bits, group = _PROXY
    model = source.build()

    def chosen(path: str, module: Any) -> bool | dict[str, Any]:
        fits = hasattr(module, "to_quantized") and module.weight.shape[-1] % group == 0
        return predicate(path, module) if fits else False

    nn.quantize(model, group, bits, class_predicate=chosen)
    source.model.update(tree_map(lambda _: mx.array(0), source.model.parameters()))
    source.release()
    for _, module in tree_flatten(model.leaf_modules(), is_leaf=nn.Module.is_module):
        mx.eval(module.parameters())
    mx.eval(model.parameters())
    return model
