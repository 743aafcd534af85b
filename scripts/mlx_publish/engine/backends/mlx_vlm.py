"""mlx-vlm (0.7.10 and newer), as `mlx_vlm.utils.load_model` and `mlx_vlm.generate` use its classes.

Its model takes ids and pictures and gives an object; here it gives logits, as a language model does.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import mlx.core as mx
from mlx import nn
from mlx_lm.tokenizer_utils import load as load_wrapped
from mlx_vlm import utils
from mlx_vlm.convert import mixed_quant_predicate_builder
from mlx_vlm.models import cache as caches
from mlx_vlm.quant_utils import dequantize_model, get_total_parameters, quantize_model

from mlx_publish.engine.backends import Classes, Predicate
from mlx_publish.engine.sense_settings import completed
from mlx_publish.engine.towers import settings as tower_settings
from mlx_publish.evidence.conversion import VariantOrder
from mlx_publish.model.senses import LANGUAGE

_SECTIONS = ("text", "vision", "perceiver", "projector", "audio")
_PARTS = ("VisionModel", "vision_config"), ("LanguageModel", "text_config"), ("AudioModel", "audio_config")
_CODE = "model_file"
SENSES = True
"""It keeps what sees and hears."""


def load(folder: Path) -> tuple[Any, Any]:
    """Return model and tokenizer as `mlx_vlm.load` makes them. ValueError where a config names code of its own."""
    if utils.load_config(folder).get(_CODE):
        raise ValueError(f"config.json names code of its own ({_CODE}), which is not run")
    model = utils.load_model(folder)
    model.__class__ = _giving_logits(type(model))
    return model, tokenizer_that_stops(folder)


def load_lazily(folder: Path, classes: Callable[[dict[str, Any]], Classes]) -> tuple[Any, dict[str, Any]]:
    """Return model and config, with weights that are read when they are computed.

    What generation_config.json says stays there: `load_config` would write it into the config.
    """
    given = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = completed(given, _Settings(utils.get_model_and_args(given)[0]))
    weights: dict[str, mx.array] = {}
    for path in sorted(folder.glob("model*.safetensors")):
        weights.update(cast("dict[str, mx.array]", mx.load(str(path))))
    model_class, settings = classes(config)
    model = model_class(settings.from_dict(config))
    model.load_weights(list(model.sanitize(weights).items()), strict=True)
    model.eval()
    return model, config


def load_again(folder: Path) -> tuple[dict[str, mx.array], Any]:
    """Return the tensors of a folder's files by their names, and the model that users load of it, lazily."""
    read: dict[str, mx.array] = {}

    def reading(path: str) -> dict[str, mx.array]:
        tensors: dict[str, mx.array] = _load(path)
        read.update(tensors)
        return dict(tensors)

    _load = utils._load_safetensors  # noqa: SLF001
    utils._load_safetensors = reading  # noqa: SLF001
    try:
        return read, utils.load_model(folder, lazy=True)
    finally:
        utils._load_safetensors = _load  # noqa: SLF001


def classes(config: dict[str, Any]) -> Classes:
    """Return the classes for a config. ValueError if mlx-vlm has none."""
    family, _ = utils.get_model_and_args(config)
    return _whole(family), _Settings(family)


@dataclass(frozen=True)
class _Settings:
    """Makes the settings of a family as `load_model` does."""

    family: ModuleType

    def from_dict(self, config: dict[str, Any]) -> Any:
        """Return the settings with those of each part."""
        given = copy.deepcopy(config)
        given.setdefault("text_config", given.pop("llm_config", {}))
        for part in ("vision_config", "audio_config"):
            given.setdefault(part, {})
        settings = self.family.ModelConfig.from_dict(given)
        return utils.update_module_configs(settings, self.family, given, list(_SECTIONS))


def _whole(family: ModuleType) -> type:
    """Return the class of a family, whose `sanitize` is all that `load_model` does to the names and arrays."""

    class Whole(_giving_logits(family.Model)):  # type: ignore[misc]
        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            if hasattr(family.Model, "sanitize"):
                weights = super().sanitize(weights)  # some families have it as a static method
            for name, section in _PARTS:
                part, settings = getattr(family, name, None), getattr(self.config, section, None)
                if part is not None and hasattr(self.config, section):
                    weights = utils.sanitize_weights(part, weights, settings)
            return weights

    return Whole


def _giving_logits(model_class: type) -> type:
    """Return a class that computes logits, (1, positions, vocabulary), as `generate_step` does."""

    class GivingLogits(model_class):
        def __call__(self, ids: mx.array, *, cache: list[Any] | None = None, **inputs: Any) -> mx.array:
            # Behind a prompt the language model counts on; a prompt of its own would begin at 0 again.
            if cache and not inputs and not all(entry.empty() for entry in cache):
                return later(self, ids, cache)
            return logits(self, ids, cache, **inputs)

    GivingLogits.__name__ = model_class.__name__
    GivingLogits.__module__ = model_class.__module__
    return GivingLogits


def logits(model: Any, ids: mx.array, cache: list[Any] | None = None, **inputs: Any) -> mx.array:
    """Return logits, (1, positions, vocabulary); `inputs` are what a processor gives beside ids."""
    made = embedded(model, ids, **inputs)
    rest = {key: value for key, value in inputs.items() if key not in ("pixel_values", "mask")}
    computed: mx.array = model.language_model(ids, cache=cache, **{**rest, **made}).logits
    return computed


def embedded(model: Any, ids: mx.array, **inputs: Any) -> dict[str, Any]:
    """Return what the language model is given for a prompt, by the names of its arguments."""
    pixels, mask = inputs.pop("pixel_values", None), inputs.pop("mask", None)
    made = model.get_input_embeddings(ids, pixels, mask=mask, **inputs).to_dict()
    return {key: value for key, value in made.items() if value is not None}


def later(model: Any, ids: mx.array, cache: list[Any]) -> mx.array:
    """Return logits of what follows a prompt, (1, positions, vocabulary), as `generate_step` computes them."""
    computed: mx.array = model.language_model(ids, cache=cache).logits
    return computed


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a folder, which stops at its own end alone."""
    return load_wrapped(folder, {"trust_remote_code": False})


def tokenizer_that_stops(folder: Path) -> Any:
    """Return the tokenizer that stops at every end that the configs name."""
    ends = utils.load_config(folder).get("eos_token_id")
    return load_wrapped(folder, {"trust_remote_code": False}, eos_token_ids=ends)


def make_cache(model: Any) -> list[Any]:
    """Return an empty cache for a prompt, an entry a layer."""
    entries: list[Any] = caches.make_prompt_cache(model.language_model)
    return entries


def parts(entry: Any) -> Sequence[Any] | None:
    """Return the caches of a hybrid layer's parts; None for a plain one."""
    return tuple(entry.caches) if isinstance(entry, caches.CacheList) else None


@dataclass(frozen=True)
class _Said:
    text: str
    token: int
    finish_reason: str | None
    prompt_tps: float
    generation_tps: float


def stream(
    model: Any, tokenizer: Any, ids: list[int], max_tokens: int, cache: list[Any] | None = None, **inputs: Any
) -> Iterator[Any]:
    """Generate greedily, as `mlx_vlm.generate` does; `inputs` are what a processor gives beside ids."""
    from mlx_vlm.generate.ar import generate_step  # noqa: PLC0415  it looks at the device

    detokenizer = tokenizer.detokenizer
    pixels, mask = inputs.pop("pixel_values", None), inputs.pop("mask", None)
    given = {**inputs, **({} if cache is None else {"prompt_cache": cache}), "max_tokens": max_tokens}
    clock = _Clock(len(ids))
    for number, (token, _) in enumerate(generate_step(mx.array([ids]), model, pixels, mask, temperature=0.0, **given)):
        clock.tick()
        reason = "stop" if token in tokenizer.eos_token_ids else "length" if number + 1 == max_tokens else None
        if reason != "stop":
            detokenizer.add_token(token)
        if reason:
            detokenizer.finalize()
        yield _Said(detokenizer.last_segment, token, reason, *clock.speeds())
        if reason:
            return


class _Clock:
    """Tells tokens a second, of the prompt and of what follows."""

    def __init__(self, prompt: int) -> None:
        self._prompt, self._begun, self._ticks = prompt, time.perf_counter(), list[float]()

    def tick(self) -> None:
        """Count a token."""
        self._ticks.append(time.perf_counter())

    def speeds(self) -> tuple[float, float]:
        """Return the speed of the prompt up to its first token, and that of the tokens so far."""
        first, last, count = self._ticks[0], self._ticks[-1], len(self._ticks)
        return self._prompt / max(first - self._begun, 1e-9), count / max(last - first, 1e-9) if count > 1 else 0.0


def threads() -> bool:
    """Return that none may: a language model keeps positions of its last prompt (`_rope_deltas`, `_position_ids`)."""
    return False


def rope(dims: int, base: float, scaling: dict[str, Any] | None, positions: int | None) -> Any:
    """Return mlx-vlm's own rotary embedding for settings of a config."""
    from mlx_vlm.models.rope_utils import initialize_rope  # noqa: PLC0415

    return initialize_rope(dims, base, False, scaling, positions)


def predicate(model: nn.Module, order: VariantOrder) -> Predicate | None:
    """Return that of a mixed recipe, else the class's own; what sees and hears has bits of its own, or none."""
    own = mixed_quant_predicate_builder(order.mixed, model) if order.mixed else getattr(model, "quant_predicate", None)

    def language(path: str, module: nn.Module) -> bool | dict[str, Any]:
        if not path.startswith(LANGUAGE):
            own_settings = tower_settings(path, module, order)
            # The key makes mlx-vlm look at groups that are not those of the order.
            return {**own_settings, "fallback_group_size": own_settings["group_size"]} if own_settings else False
        return own(path, module) if own is not None else hasattr(module, "to_quantized")

    return language


def quantize(
    model: nn.Module, config: dict[str, Any], order: VariantOrder, predicate: Predicate
) -> tuple[nn.Module, dict[str, Any]]:
    """Quantize lazily by rounding to nearest; returns the model and its config."""
    quantized, config = quantize_model(
        model, config, order.group_size, order.bits, mode=order.mode, quant_predicate=predicate
    )
    return quantized, config


def dequantize(model: Any) -> Any:
    """Return the model with unpacked weights."""
    return dequantize_model(model)


def shards(planned: dict[str, mx.array]) -> list[dict[str, mx.array]]:
    """Spread tensors over files of 5 GB, as mlx-vlm does."""
    files: list[dict[str, mx.array]] = utils.make_shards(planned)
    return files


def parameters(model: Any) -> int:
    """Return how many parameters there are, those of packed weights unpacked."""
    return int(get_total_parameters(model))


def save_config(config: dict[str, Any], path: Path) -> None:
    """Write a config as `mlx_vlm.utils.save_config` does, but with the type of its numbers, which that leaves out."""
    written = {key: value for key, value in sorted(config.items()) if key != "_name_or_path"}
    path.write_text(json.dumps(written, indent=4), encoding="utf-8")
