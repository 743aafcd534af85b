"""What the config of an adapter says that it trained, and its file does not hold.

PEFT goes on without such tensors, so what it computes is the base there; a file that was cut looks like that.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from mlx_publish.model.adapter_base import Base, bare
from mlx_publish.model.adapter_parts import Sorted, of_peft
from mlx_publish.model.weights import TensorInfo

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def lacking(config: Mapping[str, object], tensors: Sequence[TensorInfo], base: Base) -> Iterator[str]:
    """Yield the modules that PEFT would have saved tensors of, by its config, and that have none."""
    parts = of_peft(tensors)
    yield from _whole(config, parts, base)
    if config.get("trainable_token_indices") and not any("tokens" in module.tensors for module in parts.modules):
        yield "trainable_token_indices"
    yield from _layers(config, parts, base)


def _names(config: Mapping[str, object], key: str) -> list[str]:
    given = config.get(key)
    return [name for name in given if isinstance(name, str)] if isinstance(given, list) else []


def _is(module: str, target: str) -> bool:
    return module == target or module.endswith(f".{target}")


def _whole(config: Mapping[str, object], parts: Sorted, base: Base) -> Iterator[str]:
    """Yield modules of `modules_to_save` that the base has, and the adapter has not."""
    saved = {name.rpartition(".")[0] for names, _ in parts.whole for name in names}
    there = {tensor.name.rpartition(".")[0] for tensor in base.tensors} | {base.head.rpartition(".")[0]}
    for target in _names(config, "modules_to_save"):
        inner = f".{target}."
        if any(_is(module, target) or inner in f".{module}." for module in there) and not any(
            _is(module, target) or inner in f".{module}." for module in saved
        ):
            yield target


def _layers(config: Mapping[str, object], parts: Sorted, base: Base) -> Iterator[str]:
    """Yield adapted modules of `target_modules` that lack in some layers, of those that others have."""
    chosen = config.get("layers_to_transform")
    if chosen is not None or config.get("exclude_modules"):
        return
    targets = _names(config, "target_modules")
    adapted = {bare(module.module) for module in parts.modules}
    alike = defaultdict(list)
    for tensor in base.tensors:
        module = tensor.name.removesuffix(".weight")
        if len(tensor.shape) == 2 and any(_is(module, target) for target in targets):
            alike[_NUMBER.sub("#", module)].append(module)
    for modules in alike.values():
        missing = [module for module in modules if bare(module) not in adapted]
        if len(missing) < len(modules):
            yield from missing
