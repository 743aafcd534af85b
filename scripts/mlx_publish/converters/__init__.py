"""What makes models of MLX: one module a converter, found by its being here.

A module has a `CONVERTER`; `engine/backends` has the module of the same name, which builds, quantizes and asks models.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from mlx_publish.converters._converter import Commands, Converter, Support

__all__ = ["CONVERTERS", "Commands", "Converter", "Support", "converter_for", "converter_of"]


def _registered() -> tuple[Converter, ...]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    converters: list[Converter] = [importlib.import_module(f"{__name__}.{name}").CONVERTER for name in names]
    return tuple(sorted(converters, key=lambda converter: converter.order))


CONVERTERS: tuple[Converter, ...] = _registered()


def converter_for(model_type: Callable[[], str | None], *, senses: bool = False) -> Converter:
    """Return the first converter that is installed and can load a model type, else the first one of its kind.

    With `senses` it is one for models that take more than text, of which it keeps all parts.
    The type is asked for only where there is a choice: it stands in the source's config, which a later stage need not
    read again, and which another day may need the network for.
    """
    able = [converter for converter in CONVERTERS if converter.senses == senses]
    if len(able) == 1:
        return able[0]
    wanted = model_type()
    supported = (c for c in able if (support := c.support()) is not None and wanted in support.types)
    return next(supported, able[0])


def converter_of(tools: object) -> Converter:
    """Return the converter among the tools that evidence names; the first one where it names none."""
    names = tools if isinstance(tools, dict) else {}
    return next((converter for converter in CONVERTERS if converter.distribution in names), CONVERTERS[0])
