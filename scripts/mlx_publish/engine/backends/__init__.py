"""What the engine takes of a converter's library; one module a converter, by the converter's name.

A module has the functions of `Backend`. The job of a child names the one that it is done with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import mlx.core as mx
from mlx import nn

from mlx_publish.children.engine import DEFAULT
from mlx_publish.evidence.conversion import VariantOrder

_CHOSEN = [DEFAULT]

Classes = tuple[Any, Any]
"""The class of a model, and that of its settings."""
Predicate = Callable[[str, nn.Module], bool | dict[str, Any]]
"""Decides for a module by its path whether it is quantized, or by which other settings."""


class Backend(Protocol):
    """A library that builds, quantizes and asks models of MLX."""

    def load(self, folder: Path) -> tuple[Any, Any]:
        """Return model and tokenizer as the library's users get them."""

    def load_lazily(self, folder: Path, classes: Callable[[dict[str, Any]], Classes]) -> tuple[Any, dict[str, Any]]:
        """Return model and config, with weights that are read when they are computed."""

    def classes(self, config: dict[str, Any]) -> Classes:
        """Return the classes for a config. ValueError if the library has none."""

    def load_tokenizer(self, folder: Path) -> Any:
        """Return the tokenizer of a folder, which stops at the ends that its config names."""

    def tokenizer_that_stops(self, folder: Path) -> Any:
        """Return the tokenizer as `load` makes it, by the ends of config.json and generation_config.json."""

    def make_cache(self, model: Any) -> list[Any]:
        """Return an empty cache for a prompt, an entry a layer."""

    def parts(self, entry: Any) -> Sequence[Any] | None:
        """Return the entries that an entry of a cache consists of; None for a plain one."""

    def stream(
        self,
        model: Any,
        tokenizer: Any,
        ids: list[int],
        max_tokens: int,
        cache: list[Any] | None = None,
        **inputs: Any,
    ) -> Iterator[Any]:
        """Generate greedily; yields what has `text`, `token`, `finish_reason`, `prompt_tps` and `generation_tps`.

        `inputs` are what a processor gives beside ids, where models see.
        """

    def threads(self) -> bool:
        """Return whether threads may ask one model side by side: none does that keeps something of a prompt."""

    def rope(self, dims: int, base: float, scaling: dict[str, Any] | None, positions: int | None) -> Any:
        """Return the library's own rotary embedding for settings of a config."""

    def predicate(self, model: nn.Module, order: VariantOrder) -> Predicate | None:
        """Return what the library quantizes of a model for an order; None if that is everything it can."""

    def quantize(
        self, model: nn.Module, config: dict[str, Any], order: VariantOrder, predicate: Predicate
    ) -> tuple[nn.Module, dict[str, Any]]:
        """Quantize lazily; returns the model and its config."""

    def dequantize(self, model: Any) -> Any:
        """Return the model with unpacked weights."""

    def shards(self, planned: dict[str, mx.array]) -> list[dict[str, mx.array]]:
        """Spread tensors over files as the library does."""

    def parameters(self, model: Any) -> int:
        """Return how many parameters the library counts."""

    def save_config(self, config: dict[str, Any], path: Path) -> None:
        """Write a config as the library writes it."""


class SeesPictures(Backend, Protocol):
    """A library whose models are shown pictures, by what a processor gives beside ids, and `mask`."""

    def embedded(self, model: Any, ids: mx.array, **inputs: Any) -> dict[str, Any]:
        """Return what the language model is given for a prompt: `inputs_embeds` and more."""

    def logits(self, model: Any, ids: mx.array, cache: list[Any] | None = None, **inputs: Any) -> mx.array:
        """Return the logits of a prompt, (1, positions, vocabulary)."""

    def later(self, model: Any, ids: mx.array, cache: list[Any]) -> mx.array:
        """Return the logits of what follows a prompt that the cache holds."""


def use(name: str) -> None:
    """Choose the library for the jobs of this process from now on."""
    _CHOSEN[:] = [name]


def library() -> str:
    """Return the name by which users know the chosen library, as `mlx-lm`."""
    return _CHOSEN[0].replace("_", "-")


def keeps_senses() -> bool:
    """Return whether the chosen library keeps what sees and hears."""
    return bool(getattr(backend(), "SENSES", False))


def backend() -> Backend:
    """Return the chosen library's functions."""
    return cast("Backend", import_module(f"mlx_publish.engine.backends.{_CHOSEN[0]}"))


def plain_caches(entries: Iterable[Any]) -> Iterator[Any]:
    """Yield the entries of a cache; one of a hybrid model has an entry for each of its parts."""
    for entry in entries:
        parts = backend().parts(entry)
        yield from (entry,) if parts is None else plain_caches(parts)
