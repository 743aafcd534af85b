"""Values of config.json that cannot be what they stand for, refused before a class is built with them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

from mlx_publish.checks.base import Check, Says, failed, passed
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.model.senses import senses_in

_SIZES = ("hidden_size", "n_embd", "num_hidden_layers", "n_layer", "vocab_size", "num_attention_heads", "n_head")
_OBJECTS = (
    "text_config",
    "vision_config",
    "audio_config",
    "rope_parameters",
    "rope_scaling",
    "quantization",
    "quantization_config",
    "per_layer_config",
)
_LISTS = ("layer_types", "mlp_layer_types")
_EPSILONS = ("rms_norm_eps", "layer_norm_eps", "norm_eps", "layer_norm_epsilon", "layernorm_epsilon")
_MOST_LAYERS = 10_000
_MOST = {
    "vocab_size": 100_000_000,
    "hidden_size": 10_000_000,
    "n_embd": 10_000_000,
    "num_attention_heads": 100_000,
    "n_head": 100_000,
}
"""A thousand times what the largest models have; whoever builds a class of more takes all memory there is."""
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


def _values(facts: SourceFacts) -> Says:
    wrong = list(_wrong(facts.source.config.raw, ""))
    text = facts.source.config.text
    if text is not facts.source.config.raw:
        wrong += _wrong(text, "text_config.")
    for key in senses_in(facts.source.config.raw):
        part = facts.source.config.raw[key]
        wrong += [f"{key}.{fault}" for fault in _too_large(part)] if isinstance(part, Mapping) else []
    if wrong:
        return failed(f"config.json has impossible values: {'; '.join(wrong[:3])}", "Correct the value in the source.")
    return passed("sizes, settings and lists of config.json are of their kinds")


def _wrong(part: Mapping[str, object], prefix: str) -> Iterator[str]:
    """Yield each value that no class can be built with, as a sentence."""
    for judge in (_wrong_sizes, _wrong_kinds, _wrong_numbers):
        yield from (f"{prefix}{fault}" for fault in judge(part))


def _wrong_sizes(part: Mapping[str, object]) -> Iterator[str]:
    for key in (key for key in _SIZES if part.get(key) is not None):
        if not _is_size(part[key], listed=key in ("num_attention_heads", "n_head")):
            yield f"{key} is {_short(part[key])}, not a size"
    yield from _too_large(part)


def _too_large(part: Mapping[str, object]) -> Iterator[str]:
    for key, most in _MOST.items():
        size = part.get(key)
        if type(size) is int and size > most:
            yield f"{key} is {_short(size)}, more than any model has"
    for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "depth"):
        count = part.get(key)
        if type(count) is int and count > _MOST_LAYERS:
            yield f"{key} is {count:,}, more layers than any model has"


def _wrong_kinds(part: Mapping[str, object]) -> Iterator[str]:
    for key in _OBJECTS:
        if part.get(key) is not None and not isinstance(part[key], Mapping):
            yield f"{key} is {_short(part[key])}, not an object"
    for key in _LISTS:
        kinds = part.get(key)
        if kinds is not None and not (isinstance(kinds, list) and all(isinstance(kind, str) for kind in kinds)):
            yield f"{key} is not a list of kinds"


def _wrong_numbers(part: Mapping[str, object]) -> Iterator[str]:
    for key in (key for key in _EPSILONS if part.get(key) is not None):
        if not _is_positive(part[key]):
            yield f"{key} is {_short(part[key])}, not a small number"
    rope = part.get("rope_parameters")
    if isinstance(rope, Mapping) and "rope_theta" in rope and not _is_positive(rope["rope_theta"]):
        yield f"rope_parameters.rope_theta is {_short(rope['rope_theta'])}, not a RoPE base"


def _is_size(value: object, *, listed: bool) -> bool:
    """Return whether a value is a whole number above 0, or with `listed` a list of them, one for each layer."""
    if listed and isinstance(value, list):
        return all(_is_size(item, listed=False) for item in value)
    return type(value) is int and value > 0


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _short(value: object) -> str:
    """Return a value for a message, at most 40 characters of it."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _layers(facts: SourceFacts) -> Says:
    """Compare the count of layers with the weights; layers beyond it predict further tokens, for another check."""
    text = facts.source.config.text
    count = next(
        (text[key] for key in ("num_hidden_layers", "n_layer", "num_layers") if type(text.get(key)) is int), None
    )
    numbers = {int(match[1]) for tensor in facts.source.language_tensors if (match := _LAYER.search(tensor.name))}
    if count is None or not numbers:
        return passed("the weights' names do not number the layers")
    if count > max(numbers) + 1:
        return failed(
            f"config.json says {count:,} layers, but the weights have {max(numbers) + 1:,}",
            "Complete the source, or correct num_hidden_layers.",
        )
    return passed(f"the weights have the {count:,} layers of config.json")


VALUES: tuple[Check[SourceFacts], ...] = (
    Check("config-values", "The values in config.json are possible", "an MLX class built from nonsense", _values),
)
LAYERS: tuple[Check[SourceFacts], ...] = (
    Check("layers-there", "The weights contain every layer", "hours spent on an incomplete model", _layers),
)
