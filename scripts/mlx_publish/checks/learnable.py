"""Methods that learn: whether one can do this source at all, and on this machine, before anything is downloaded."""

from __future__ import annotations

from mlx_publish.checks.base import Check, Says, failed, passed
from mlx_publish.checks.facts import SourceFacts
from mlx_publish.checks.quantization import missed
from mlx_publish.machine.packages import computes_by
from mlx_publish.machine.resources import learning_bytes
from mlx_publish.methods import settings_of
from mlx_publish.model.learned_size import Computing, Text, learning_memory
from mlx_publish.model.spellings import class_type
from mlx_publish.text.numbers import size

_READING = ("awq", "dwq", "gptq")
_ALL_LAYERS = ("awq", "gptq")
"""Methods that leave no layer as it is: mlx-lm stops at the first that groups do not divide."""
_INSTEAD = "Use target_bpw, which chooses bits by module and works with every type"
_SHARE = 16
"""Bits of a scale and a bias, each."""


def _method_of(facts: SourceFacts) -> str:
    """Return the method that learns; empty for another variant."""
    name = facts.variant.quantizer.name if facts.variant.quantized else ""
    return name if name in _READING else ""


def _type(facts: SourceFacts) -> Says:
    method, config = _method_of(facts), facts.source.config
    if not method:
        return passed("the method works with every model type")
    types = facts.loads.limited.get(method)
    kinds = {config.model_type, class_type(config.raw)}
    if types is None or kinds & types:
        return passed(f"{method} works with {config.model_type}")
    others = " or ".join(f"method: {other}" for other in _READING if other not in facts.loads.limited)
    return failed(
        f"{method} in {facts.loads.name} {facts.loads.version or ''} does not support the model type "
        f"{config.model_type}; it supports {', '.join(sorted(types)) or 'none'}",
        f"{_INSTEAD}, or {others}.",
    )


def _groups(facts: SourceFacts) -> Says:
    method, group = _method_of(facts), facts.variant.form.group_size
    if method not in _ALL_LAYERS or group is None:
        return passed("the method skips layers that groups do not divide")
    if lost := list(missed(facts, group)):
        return failed(
            f"{method} quantizes every layer, but groups of {group} do not divide {lost[0].name} {list(lost[0].shape)}",
            f"Take a smaller group_size, or method: dwq. {_INSTEAD}.",
        )
    return passed(f"groups of {group} divide every layer that {method} quantizes")


def _memory(facts: SourceFacts) -> Says:
    if not (method := _method_of(facts)):
        return passed("the method reads the source a few rows at a time")
    form, calibration = facts.variant.form, facts.recipe.spec.calibration.amount(method)
    wide = 4 if computes_by() == "cpu" else 2
    group = form.group_size or 64
    computing = Computing(
        method,
        facts.variant.quantizer.bits_per_weight(form, _SHARE),
        group,
        wide,
        settings_of(form.options, form.bits),
    )
    text = Text(calibration.samples, calibration.length)
    needed, most = learning_memory(facts.source.language_tensors, text, computing), learning_bytes()
    details = {"needed_bytes": needed}
    words = f"{method} needs about {size(needed)} of memory for this source with {text.samples} samples"
    if needed > most:
        return failed(
            f"{words} of {text.length} tokens, and this machine has {size(most)} for it",
            f"{'Use a smaller batch_size, fewer' if method == 'dwq' else 'Use fewer'} or shorter samples "
            "(calibration), a machine with more memory, or target_bpw.",
            **details,
        )
    return passed(f"{words} of {text.length} tokens", **details)


BY_CONFIG: tuple[Check[SourceFacts], ...] = (
    Check("method-type", "The method supports the model type", "hours of download for nothing", _type),
)
BY_HEADERS: tuple[Check[SourceFacts], ...] = (
    Check("method-groups", "The method can quantize every layer", "a method that stops half-way", _groups),
    Check("learning-fits", "Learning fits into the memory", "hours of work that end out of memory", _memory),
)
