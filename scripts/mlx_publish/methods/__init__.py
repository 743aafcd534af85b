"""How the bits of a variant are chosen and written: one module a method, found by its being here.

A module has a `METHOD`; `engine/methods` has the module of the same name, which quantizes.
"""

from __future__ import annotations

import importlib
import pkgutil

from mlx_publish.methods._learned import settings_given, settings_of
from mlx_publish.methods._method import Form, Method, wrong_key

__all__ = ["METHODS", "Form", "Method", "method_of", "settings_given", "settings_of", "wrong_key"]


def _registered() -> tuple[Method, ...]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    methods: list[Method] = [importlib.import_module(f"{__name__}.{name}").METHOD for name in names]
    return tuple(sorted(methods, key=lambda method: method.order))


METHODS: tuple[Method, ...] = _registered()


def method_of(keys: object, methods: tuple[Method, ...] = METHODS) -> Method:
    """Return the method that the keys of a variant, or of its form, ask for; the first one where they ask for none."""
    return next((method for method in reversed(methods) if method.claims(keys)), methods[0])
