"""Rotary embeddings of the built model, by their wavelengths, beside what its source's config declares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mlx import nn

from mlx_publish.engine.backends import backend
from mlx_publish.evidence.conversion import Mismatch, Rope
from mlx_publish.model.config import ModelConfig
from mlx_publish.model.normalise import declared_scaling, declared_thetas

Wavelengths = list[float]
"""Reciprocal angular frequencies, (dims / 2,)."""


def rope_of(model: nn.Module, config: ModelConfig) -> Rope:
    """Return which declared bases of rope no built module turns by, and the declared scaling."""
    built = _built(module for module in _modules(model) if "RoPE" in type(module).__name__)
    declared, scaling = sorted(declared_thetas(config.raw)), declared_scaling(config.raw)
    missing = []
    for base in declared if built else ():
        wanted = [
            expected
            for dims in {2 * len(lengths) for lengths in built}
            if (expected := _expected(dims, base, scaling, config)) is not None
        ]
        wanted += [scaled for lengths in built for scaled in _by_layer(2 * len(lengths), base, config)]
        # A base of a local layer is never scaled, and a scaling that mlx-lm cannot make shows nothing.
        wanted += [_plain(2 * len(lengths), base) for lengths in built] if len(declared) > 1 or not wanted else []
        if not any(_is_close(lengths, expected) for lengths in built for expected in wanted):
            missing.append(base)
    return Rope(missing, scaling["rope_type"] if scaling else None)


def partial_factor(config: ModelConfig) -> dict[str, object]:
    """Return the part of the dimensions that turns, where only transformers 5's `rope_parameters` names it."""
    part = (config.text.get("rope_parameters") or {}).get("partial_rotary_factor")
    if part is None or config.text.get("partial_rotary_factor") is not None:
        return {}
    return {"partial_rotary_factor": part}


def turns_part(model: nn.Module, config: ModelConfig, part: float) -> bool:
    """Return whether a module turns this part of a head, whatever its class calls it (rotary_pct, rotary_dim)."""
    text = config.text
    heads, hidden = text.get("num_attention_heads"), text.get("hidden_size")
    size = text.get("head_dim") or (hidden // heads if heads and hidden else None)
    built = _built(_modules(model))
    return not built or size is None or any(2 * len(lengths) == int(size * part) for lengths in built)


def magnitude_mismatch(model: nn.Module, config: ModelConfig) -> dict[str, Mismatch]:
    """Return by what yarn and longrope multiply, where the built model does it otherwise than transformers."""
    wanted = _attention_factor(config)
    modules = [module for module in _modules(model) if "RoPE" in type(module).__name__]
    built = {
        float(getattr(module, name)) for module in modules for name in ("mscale", "_scale") if hasattr(module, name)
    }
    # Some publish the factor with four digits, which is off by 3e-5.
    if wanted is None or not built or any(math.isclose(wanted, factor, rel_tol=1e-3) for factor in built):
        return {}
    return {"the attention_factor of rope": Mismatch(round(wanted, 6), round(min(built), 6))}


def _attention_factor(config: ModelConfig) -> float | None:
    """Return what the config says of it; None if that is left to the class, as by most that scale by yarn.

    Longrope has the formula of transformers (modeling_rope_utils.py) where nothing is given.
    """
    scaling, text = declared_scaling(config.raw), config.text or config.raw
    if not scaling:
        return None
    kind = scaling["rope_type"]
    given = scaling.get("attention_factor") or (scaling.get("long_mscale") if kind == "longrope" else None)
    if given is not None or kind != "longrope":
        return float(given) if given is not None and kind in ("yarn", "longrope") else None
    first = scaling.get("original_max_position_embeddings") or text.get("original_max_position_embeddings")
    factor = scaling.get("factor") or ((text.get("max_position_embeddings") or 0) / first if first else 1.0)
    return math.sqrt(1 + math.log(factor) / math.log(first)) if first and factor > 1 else 1.0


def _by_layer(dims: int, base: float, config: ModelConfig) -> Iterator[Wavelengths]:
    """Yield the wavelengths of each rope that has the name of a kind of layers, or has its base changed by alpha."""
    text = config.text or config.raw
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    for entry in (rope, *rope.values()):
        if not isinstance(entry, Mapping):
            continue
        if entry.get("rope_theta") == base and entry.get("rope_type") not in (None, "default"):
            expected = _expected(dims, base, entry, config)
            yield from () if expected is None else (expected,)
        alpha = entry.get("alpha")
        if isinstance(alpha, (int, float)) and alpha > 0 and dims > 2:  # Hunyuan folds it into the base
            yield _plain(dims, base * alpha ** (dims / (dims - 2)))


def _expected(dims: int, base: float, scaling: Mapping[str, object] | None, config: ModelConfig) -> Wavelengths | None:
    """Return the wavelengths of mlx-lm's own rope for what the config declares; None if it has none."""
    text = config.text or config.raw
    # phi3 keeps the first length on top, not within its scaling; and `type` would win over `rope_type`.
    first = {key: text[key] for key in ("original_max_position_embeddings",) if text.get(key)}
    try:
        asked = {**first, **scaling, "type": scaling["rope_type"]} if scaling else None
        module = backend().rope(dims, base, asked, text.get("max_position_embeddings"))
    except (ValueError, KeyError, TypeError, AssertionError):
        return None
    return wavelengths(module)


def wavelengths(module: Any) -> Wavelengths | None:
    """Return the wavelengths of a rope module of whatever kind; None if it shows none."""
    if (freqs := getattr(module, "_freqs", None)) is not None:
        return [float(value) for value in freqs.tolist()]
    base, dims = getattr(module, "base", None), getattr(module, "dims", None)
    if base is None or dims is None:
        return None
    scale = float(getattr(module, "scale", 1.0))
    return [value / scale for value in _plain(int(dims), float(base))]


def _modules(model: nn.Module) -> list[nn.Module]:
    return [module for _, module in model.named_modules()]


def _built(modules: Iterable[nn.Module]) -> list[Wavelengths]:
    return [lengths for module in modules if (lengths := wavelengths(module)) is not None]


def _plain(dims: int, base: float) -> Wavelengths:
    return [base ** (index / dims) for index in range(0, dims, 2)]


def _is_close(lengths: Wavelengths, other: Wavelengths) -> bool:
    # float32 over dozens of powers; a wrong base is off by far more at the long end.
    pairs = zip(lengths, other, strict=True) if len(lengths) == len(other) else None
    return pairs is not None and all(math.isclose(built, wanted, rel_tol=1e-3) for built, wanted in pairs)
