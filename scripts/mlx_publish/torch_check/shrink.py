"""A small config of the same structure: what decides how a model computes stays, what decides how much shrinks.

Layer types, rope of every kind, windows, soft caps, multipliers, biases, norms, tied heads, experts and their routing
stay. Sizes shrink by their names; layers are cut to whole periods of their pattern; every boundary that depends on
positions comes within reach of a few hundred tokens.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlx_publish.torch_check.layers import COUNTS, HIGHEST, Layers, layers_of, whole_number
from mlx_publish.torch_check.sizes import (
    ALIASES,
    BOUNDARIES,
    CONTEXT,
    CONTEXTS,
    FIRST_CONTEXT,
    FOURFOLD,
    HEAD_DIM,
    HEAD_DIMS,
    HEADS,
    HIDDEN,
    LARGEST_HEAD,
    NESTED,
    ROPES,
    SIZES,
    TOKEN,
    VOCABULARY,
    WIDTHS,
)
from mlx_publish.torch_check.towers import PICTURES, TOWERS, small_tower
from mlx_publish.torch_check.whole_towers import small_senses, tell_tokens_apart

Boundaries = dict[int, tuple[str, Any]]
"""By position in the twin: the key that sets a boundary there, and the source's value of it."""


@dataclass(frozen=True)
class Small:
    """The small config, and what its positions mean in the source."""

    config: dict[str, Any]
    boundaries: Boundaries = field(default_factory=dict)


def shrink(
    config: Mapping[str, object], resolved: Mapping[str, object] | None = None, *, senses: bool = False
) -> Small:
    """Make a config small. Its spelling stays as it is.

    `resolved` is its text part as transformers reads it, which lists the kinds of layers where the config leaves that
    to the class. With `senses` its encoders stay whole, so that pictures can be shown to it.
    """
    small = copy.deepcopy(dict(config))
    for key in ("quantization", "quantization_config", "compression_config", "auto_map", "model_file", "_name_or_path"):
        small.pop(key, None)
    boundaries: Boundaries = {}
    _shrink_part(small, boundaries, resolved or {}, senses=senses)
    if senses:
        tell_tokens_apart(config, small)
    return Small(small, boundaries)


def text_part(config: dict[str, Any]) -> dict[str, Any]:
    """Return the part that describes the language model; wrappers nest it, some twice."""
    for key in NESTED:
        nested = config.get(key)
        if isinstance(nested, dict) and nested:
            return text_part(nested)
    return config


def _shrink_part(
    config: dict[str, Any], boundaries: Boundaries, resolved: Mapping[str, object], *, senses: bool
) -> None:
    text = text_part(config)
    named = any(whole_number(text, key) is not None for key in ALIASES["hidden"])
    width = WIDTHS.get(str(config.get("model_type")), HIDDEN) if senses else HIDDEN
    sizes = _Sizes.of(text if named else {**config, **text}, resolved, width)
    for part in _chain(config):
        _shrink_text(part, sizes, boundaries)
        part["vocab_size"] = VOCABULARY  # where it is left out, both sides have a default of some hundred thousand
        towers = {key: tower for key in TOWERS if isinstance(tower := part.get(key), dict)}
        if senses:
            small_senses(
                part, {key: towers[key] for key in towers if key in PICTURES}, sizes.hidden, sizes.small_hidden
            )
        for key, tower in towers.items():
            if not senses or key not in PICTURES:
                small_tower(tower, sizes.hidden, sizes.small_hidden)


def _chain(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the config and the parts within it that lead to the language model, and that one."""
    yield config
    for key in NESTED:
        if isinstance(nested := config.get(key), dict):
            yield from _chain(nested)


@dataclass(frozen=True)
class _Sizes:
    """The sizes of the source that others are derived from, and those of the twin."""

    hidden: int
    heads: int
    kv: int
    head_dim: int
    context: int
    layers: Layers
    small_kv: int
    small_head_dim: int
    ratio: float
    """Context over the first context, which longrope and yarn take their factors from."""
    yarn: bool
    """Whether rope is scaled by yarn, which rounds its range to whole dimensions: then they and the contexts stay."""
    small_hidden: int
    latent: tuple[int, ...]
    """What does not turn of a head of multi-head latent attention, and what does; empty elsewhere."""

    @classmethod
    def of(cls, part: Mapping[str, object], resolved: Mapping[str, object], width: int = HIDDEN) -> _Sizes:
        """Return the sizes that a config names; `resolved` lists or counts layers where it does not.

        The twin gets the `width`.
        """
        nested = {**part, **{k: v for value in part.values() if isinstance(value, dict) for k, v in value.items()}}
        hidden = _first({**nested, **part}, ALIASES["hidden"], HIDDEN)
        heads = _first({**nested, **part}, ALIASES["heads"], HEADS)
        kv = _first({**nested, **part}, ALIASES["kv"], heads)
        own = part.get("head_dim") or part.get("kv_channels") or part.get("attention_head_dim")
        head_dim = own if type(own) is int else hidden // max(heads, 1)
        context = _first(part, CONTEXTS, CONTEXT)
        small_heads = min(heads, HEADS)
        small_kv = small_heads if kv >= heads else 1 if kv == 1 else max(1, small_heads // 2)
        plain = head_dim * heads == hidden
        small = width // small_heads if plain else HEAD_DIM + (16 if small_heads * HEAD_DIM == width else 0)
        latent = tuple(
            size for key in ("qk_nope_head_dim", "qk_rope_head_dim") if (size := whole_number(part, key)) is not None
        )
        listed = {key: value for key, value in resolved.items() if isinstance(value, list) or key in COUNTS}
        ratio, yarn = _ratio(part, context), _is_by_yarn(part)
        return cls(
            hidden, heads, kv, head_dim, context, layers_of({**listed, **part}), small_kv,
            head_dim if yarn and head_dim <= LARGEST_HEAD else small, ratio, yarn, width,
            latent if len(latent) == 2 else (),
        )  # fmt: skip

    @property
    def small_heads(self) -> int:
        return min(self.heads, HEADS)

    def small_of(self, head_dim: int) -> int:
        """Return the small size of a head; some layers have a larger one."""
        return self.small_head_dim if head_dim == self.head_dim else 2 * self.small_head_dim

    def of_latent(self, key: str, value: int) -> int:
        """Return a size of multi-head latent attention: what turns, what does not, or both, as in the source."""
        still, turns = self.latent
        turning = turns if self.yarn else 16
        small = 16 * max(1, round(still / max(turns, 1)))
        if key == "qk_nope_head_dim":
            return small
        if key == "v_head_dim":
            return small if value == still else 32
        return turning if key == "qk_rope_head_dim" or (value == turns and key == "head_dim") else small + turning


def _first(part: Mapping[str, object], names: tuple[str, ...], default: int) -> int:
    return next((size for key in names if (size := whole_number(part, key)) is not None and size > 0), default)


def _is_by_yarn(part: Mapping[str, object]) -> bool:
    """Return whether yarn scales rope.

    Llama 4's scaling of the queries depends on positions, so that its contexts do shrink.
    """
    places = [place for key in ROPES if isinstance(place := part.get(key), Mapping)]
    places += [value for place in places for value in place.values() if isinstance(value, Mapping)]
    kinds = {str(place.get("rope_type") or place.get("type")) for place in places}
    return "yarn" in kinds and not any("llama_4_scaling_beta" in place for place in places)


def _ratio(part: Mapping[str, object], context: int) -> float:
    places: list[Any] = [part, *(part.get(key) or {} for key in ROPES)]
    for place in places:
        first = place.get("original_max_position_embeddings")
        if isinstance(first, (int, float)) and first > 0:
            return context / first
    return CONTEXT / FIRST_CONTEXT


def _shrink_text(part: dict[str, Any], sizes: _Sizes, boundaries: Boundaries) -> None:
    """Shrink what stands on this level, and the dicts of settings within it."""
    sizes.layers.cut(part)
    for key, value in list(part.items()):
        if key in (*TOWERS, *NESTED):
            continue
        if key in ROPES and isinstance(value, dict):
            _shrink_rope(value, sizes, boundaries, key)
        elif isinstance(value, dict):
            _shrink_text(value, sizes, boundaries)
        elif isinstance(value, list) and value and all(type(item) is int for item in value):
            part[key] = [_small(key, item, sizes, boundaries, part) for item in value]
        elif type(value) is int:
            part[key] = _small(key, value, sizes, boundaries, part)
    _relate(part)


def _small(key: str, value: int, sizes: _Sizes, boundaries: Boundaries, part: Mapping[str, object]) -> int:
    """Return the small value of a key."""
    if key in BOUNDARIES:
        return _boundary(key, value, sizes, boundaries)
    if key in CONTEXTS and sizes.yarn:
        return value
    if key in CONTEXTS:
        return round(FIRST_CONTEXT * sizes.ratio) if 1 <= sizes.ratio < HIGHEST else CONTEXT
    if TOKEN.fullmatch(key):
        return _token(key, value)
    return _width(key, value, sizes, part)


def _width(key: str, value: int, sizes: _Sizes, part: Mapping[str, object]) -> int:
    """Return the small value of what counts or sizes a part of a layer."""
    for name, there in (("hidden", sizes.small_hidden), ("heads", sizes.small_heads), ("kv", sizes.small_kv)):
        if key in ALIASES[name] and not (name != "hidden" and "mamba" in str(part.get("model_type"))):
            return there if value == getattr(sizes, name) else _heads(value, sizes)
    if sizes.latent and key in (*HEAD_DIMS, "qk_head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"):
        return sizes.of_latent(key, value)
    if key == "index_head_dim":  # of which a part turns as the heads do
        return max(32, sizes.of_latent("qk_rope_head_dim", value) + 16) if sizes.latent else 32
    if key in HEAD_DIMS:
        return 32 if "state_size" in part else sizes.small_of(value)
    if key == "rotary_dim":
        return 2 * max(1, round(sizes.small_head_dim * value / sizes.head_dim / 2))
    return _by_name(key, value, sizes)


def _by_name(key: str, value: int, sizes: _Sizes) -> int:
    if value == 4 * sizes.hidden and re.fullmatch(FOURFOLD, key):
        return 4 * sizes.small_hidden  # some classes know no other width
    small = next((small for pattern, small in SIZES if re.fullmatch(pattern, key)), None)
    if small is not None:
        return min(value, small) if value >= 0 else value
    if re.fullmatch(r"(?:\w*_)?(?:num|n)_(?:\w*_)?heads?|\w*_heads", key):
        return _heads(value, sizes)
    # A width of its own that happens to be the model's, as a recurrent block's.
    named = re.fullmatch(r"(?:block|conv|projection|rnn)_dim\w*", key) is not None
    small = sizes.small_hidden
    return small if value == sizes.hidden and (value > small or named) else value


def _heads(value: int, sizes: _Sizes) -> int:
    if value == 2 * sizes.kv and value < sizes.heads:
        return 2 * sizes.small_kv  # of layers with a window, as MiMo has them
    if value >= sizes.heads:
        return sizes.small_heads
    return sizes.small_kv if value == sizes.kv else 1 if value <= 1 else max(1, sizes.small_heads // 2)


def _token(key: str, value: int) -> int:
    """Return the id of a special token, none of them among those that the texts have."""
    if value < 0 or key.endswith("_token"):
        return value
    if key.startswith(("bos", "eos", "pad", "unk")):
        return value if value < 3 else {"b": 0, "e": 2, "p": 1, "u": 1}[key[0]]
    return VOCABULARY - 1 - sum(map(ord, key)) % 40


def _boundary(key: str, value: int, sizes: _Sizes, boundaries: Boundaries) -> int:
    """Return the small value of a boundary; a window that no text within the context reaches is out of reach, too."""
    if value <= 0:
        return value
    small = min(value, BOUNDARIES[key])
    if "window" in key and value >= sizes.context:
        return max(CONTEXT, round(FIRST_CONTEXT * min(sizes.ratio, HIGHEST)))
    boundaries[small] = (key, value)
    return small


def _shrink_rope(rope: dict[str, Any], sizes: _Sizes, boundaries: Boundaries, where: str) -> None:
    """Shrink a scaling: frequencies stay; lists have as many as the small head has, chosen over the whole range."""
    for key, value in list(rope.items()):
        if isinstance(value, dict):
            _shrink_rope(value, sizes, boundaries, f"{where}.{key}")
        elif key == "original_max_position_embeddings" and isinstance(value, (int, float)) and not sizes.yarn:
            rope[key] = FIRST_CONTEXT
            boundaries[FIRST_CONTEXT] = (f"{where}.{key}", value)
        elif key == "max_position_embeddings" and type(value) is int and not sizes.yarn:
            rope[key] = round(FIRST_CONTEXT * sizes.ratio)
        elif key in ("short_factor", "long_factor") and isinstance(value, list) and value:
            count = max(1, len(value) * sizes.small_head_dim // sizes.head_dim)
            rope[key] = [value[round(index * (len(value) - 1) / max(count - 1, 1))] for index in range(count)]
        elif key == "mrope_section" and isinstance(value, list):
            rope[key] = _sections(value, sizes)


def _sections(values: list[int], sizes: _Sizes) -> list[int]:
    """Return the parts of the half head that turn by an axis each; their sum has to be right."""
    whole = round(sum(values) * sizes.small_head_dim / sizes.head_dim)
    parts = [max(1, math.floor(value * whole / sum(values))) for value in values]
    parts[-1] += whole - sum(parts)
    return parts


def _relate(part: dict[str, Any]) -> None:
    """Set the sizes that have to be products of others."""
    experts = next(
        (part[key] for key in ("num_experts", "num_local_experts", "n_routed_experts") if type(part.get(key)) is int), 0
    )
    groups = part.get("n_group")
    if type(groups) is int and experts and groups > 1 and experts % groups:
        part["n_group"] = 2
    for name in ("mamba_n_heads", "mamba_num_heads", "num_heads"):
        size = next(
            (part[key] for key in ("mamba_d_head", "mamba_head_dim", "head_dim") if type(part.get(key)) is int), 0
        )
        if name not in part or not size or (name == "num_heads" and "state_size" not in part):
            continue
        if "mamba_d_ssm" in part or "mamba_num_heads" in part:
            part[name] = 4
        else:
            expand = part.get("mamba_expand", part.get("expand", 2))
            part[name] = int(expand * HIDDEN) // size
    if type(part.get("mamba_d_ssm")) is int:
        part["mamba_d_ssm"] = part["mamba_n_heads"] * part["mamba_d_head"]
    if "index_block_size" in part and type(part.get("index_n_heads")) is int:
        # One for each group of heads that shares keys.
        part["index_n_heads"] = next((part[key] for key in ALIASES["kv"] if key in part), 1)
    keys, values = part.get("linear_num_key_heads"), part.get("linear_num_value_heads")
    if type(keys) is int and type(values) is int:
        part["linear_num_value_heads"], part["linear_num_key_heads"] = 4, 4 if keys == values else 2
