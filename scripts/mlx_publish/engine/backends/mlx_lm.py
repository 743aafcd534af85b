"""mlx-lm (0.29 and newer), of which some private functions are used: `_get_classes`, and the order of `load`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
from mlx import nn
from mlx_lm import utils
from mlx_lm.convert import mixed_quant_predicate_builder
from mlx_lm.models.cache import CacheList, make_prompt_cache
from mlx_lm.models.rope_utils import initialize_rope

from mlx_publish.engine.backends import Classes, Predicate
from mlx_publish.evidence.conversion import VariantOrder

_NO_CODE = {"trust_remote_code": False}


def load(folder: Path) -> tuple[Any, Any]:
    """Return model and tokenizer as `mlx_lm.load` does."""
    model, tokenizer = mlx_lm.load(str(folder))[:2]
    return model, tokenizer


def load_lazily(folder: Path, classes: Callable[[dict[str, Any]], Classes]) -> tuple[Any, dict[str, Any]]:
    """Return model and config, with weights that are read when they are computed."""
    model, config = utils.load_model(folder, lazy=True, get_model_classes=classes)
    return model, config


def classes(config: dict[str, Any]) -> Classes:
    """Return the classes for a config. ValueError if mlx-lm has none."""
    model_class, args_class = utils._get_classes(config)  # noqa: SLF001
    return model_class, args_class


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a folder, which stops at its own end alone."""
    return utils.load_tokenizer(folder, _NO_CODE)


def tokenizer_that_stops(folder: Path) -> Any:
    """Return the tokenizer as `mlx_lm.load` makes it: it stops at every end that the configs name."""
    ends = utils.load_config(folder).get("eos_token_id")
    return utils.load_tokenizer(folder, _NO_CODE, eos_token_ids=ends)


def make_cache(model: Any) -> list[Any]:
    """Return an empty cache for a prompt, an entry a layer."""
    entries: list[Any] = make_prompt_cache(model)
    return entries


def parts(entry: Any) -> Sequence[Any] | None:
    """Return the caches of a hybrid layer's parts; None for a plain one."""
    return tuple(entry.caches) if isinstance(entry, CacheList) else None


def stream(
    model: Any, tokenizer: Any, ids: list[int], max_tokens: int, cache: list[Any] | None = None
) -> Iterator[Any]:
    """Generate greedily, as `mlx_lm.generate` does."""
    more = {} if cache is None else {"prompt_cache": cache}
    responses: Iterator[Any] = mlx_lm.stream_generate(model, tokenizer, ids, max_tokens=max_tokens, **more)
    return responses


def threads() -> bool:
    """Return that threads may: what is known of a prompt is in its cache."""
    return True


def rope(dims: int, base: float, scaling: dict[str, Any] | None, positions: int | None) -> Any:
    """Return mlx-lm's own rotary embedding for settings of a config."""
    return initialize_rope(dims, base, False, scaling, positions)


def predicate(model: nn.Module, order: VariantOrder) -> Predicate | None:
    """Return that of a mixed recipe, else the class's own."""
    if order.mixed:
        mixed: Predicate = mixed_quant_predicate_builder(order.mixed, model, order.group_size)
        return mixed
    return getattr(model, "quant_predicate", None)


def quantize(
    model: nn.Module, config: dict[str, Any], order: VariantOrder, predicate: Predicate
) -> tuple[nn.Module, dict[str, Any]]:
    """Quantize lazily by rounding to nearest; returns the model and its config."""
    quantized, config = utils.quantize_model(
        model, config, order.group_size, order.bits, mode=order.mode, quant_predicate=predicate
    )
    return quantized, config


def dequantize(model: Any) -> Any:
    """Return the model with unpacked weights."""
    return utils.dequantize_model(model)


def shards(planned: dict[str, mx.array]) -> list[dict[str, mx.array]]:
    """Spread tensors over files of 5 GB, as mlx-lm does."""
    files: list[dict[str, mx.array]] = utils.make_shards(planned)
    return files


def parameters(model: Any) -> int:
    """Return how many parameters mlx-lm counts, those of packed weights unpacked."""
    return int(utils.get_total_parameters(model))


def save_config(config: dict[str, Any], path: Path) -> None:
    """Write a config as mlx-lm writes it."""
    utils.save_config(config, path)
