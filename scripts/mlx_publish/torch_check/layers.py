"""Which layers of a source stand for all: whole periods of their pattern, by number."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
# Every how many layers another kind comes; a text as LLLG has its period as its length.
_PERIODS = (
    "sliding_window_pattern", "_sliding_window_pattern", "full_attention_interval", "attn_layer_period",
    "expert_layer_period", "moe_layer_freq", "moe_layer_interval", "interleave_moe_layer_step", "decoder_sparse_step",
    "block_types", "_block_types", "no_rope_layer_interval", "layer_group_size", "global_attn_every_n_layers",
    "sliding_window_interval",
)  # fmt: skip
# Layers by their numbers, and how many come first or last.
_NUMBERS = re.compile(
    r"\w*(idxs?|indices|indexes)|moe_layers|\w*only_layers|\w*attn_layers|kda_layers|\w*full_attention_layers"
)
_FIRST = ("first_k_dense_replace", "moe_layer_start_index", "num_dense_layers")
_PATTERNS = ("hybrid_override_pattern",)
HIGHEST = 64.0
_MOST = 12
_ALL = 64
_MOST_LAYERS = 10_000


@dataclass(frozen=True)
class Layers:
    """How many layers the source has, and the numbers of those that are kept."""

    count: int
    kept: tuple[int, ...]
    period: int

    def cut(self, part: dict[str, Any]) -> None:
        """Cut every key of `part` that counts or lists layers."""
        count, kept = self.count, self.kept
        for key, value in list(part.items()):
            if key in COUNTS and value == count:
                part[key] = len(kept)
            elif isinstance(value, str) and key in _PATTERNS and len(value) == count:
                part[key] = "".join(value[number] for number in kept)
            elif isinstance(value, list) and _NUMBERS.fullmatch(key) and all(type(item) is int for item in value):
                part[key] = self._numbers(value)
            elif isinstance(value, list) and len(value) == count and count > 1:
                part[key] = [value[number] for number in kept]
            elif is_by_layer(value):
                kept_names = {number: place for place, number in enumerate(kept)}
                part[key] = {
                    f"{kept_names[int(name)]}": settings for name, settings in value.items() if int(name) in kept_names
                }
        self._cut_ends(part)

    def _numbers(self, value: list[int]) -> list[int]:
        """Some count layers from 1."""
        first = 1 if value and max(value) == self.count and 0 not in value else 0
        listed = {number - first for number in value}
        return [place + first for place, number in enumerate(self.kept) if number in listed]

    def _cut_ends(self, part: dict[str, Any]) -> None:
        small = len(self.kept)
        for key in _FIRST:
            if type(value := part.get(key)) is int and value > 0:
                part[key] = sum(number < value for number in self.kept)
        if type(value := part.get("moe_layer_end_index")) is int and value >= 0:
            part["moe_layer_end_index"] = max(place for place, number in enumerate(self.kept) if number <= value)
        if type(value := part.get("num_kv_shared_layers")) is int and value > 0:
            part["num_kv_shared_layers"] = max(1, min(self.period, small - self.period)) if small > 1 else 0
        if type(value := part.get("max_window_layers")) is int:
            part["max_window_layers"] = small if value >= self.count else 0 if value == 0 else small // 2
        if type(value := part.get("num_nextn_predict_layers")) is int:
            part["num_nextn_predict_layers"] = min(value, 1)


def layers_of(part: Mapping[str, object]) -> Layers:
    """Choose the layers: a whole period where there is one, else the first of each kind with those around it."""
    count = next((count for key in COUNTS if (count := whole_number(part, key)) is not None and count > 0), 1)
    if count > _MOST_LAYERS:
        return Layers(count, (0, 1), 1)
    flat = {**{k: v for value in part.values() if isinstance(value, dict) for k, v in value.items()}, **part}
    kinds = _kinds(flat, count)
    first = max((first for key in _FIRST if (first := whole_number(flat, key)) is not None), default=0)
    own = _period(kinds[first:] if 0 < first < count else kinds)
    period = math.lcm(*_periods(flat), own or 1)
    if own is None or period > _MOST:
        kept = _some(kinds)
        return Layers(count, kept, len(kept))
    wanted = max(2, period)
    if (whole_number(flat, "num_kv_shared_layers") or 0) > 0:
        wanted = 2 * period
    start = max(0, first - 1) // period * period if first else 0
    dense = (0,) if start > 0 else ()
    if first and period == 1:
        kept = (0, *range(first, min(first + 2, count)))
    elif first:
        kept = tuple(sorted({*dense, *range(start, min(start + 2 * wanted, count))}))
    else:
        kept = tuple(range(min(wanted, count)))
    return Layers(count, kept, period)


def whole_number(part: Mapping[str, object], key: str) -> int | None:
    """Return the value of a key where it is a whole number; True and False are none."""
    value = part.get(key)
    return value if type(value) is int else None


def is_by_layer(value: object) -> TypeGuard[dict[str, dict[str, object]]]:
    """Return whether settings stand under the numbers of their layers, as transformers 5 writes `per_layer_config`."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(name.isdigit() and isinstance(settings, dict) for name, settings in value.items())
    )


def _periods(part: Mapping[str, object]) -> list[int]:
    periods = []
    for key in _PERIODS:
        value = part.get(key)
        size = len(value) if isinstance(value, (str, list)) else value
        if type(size) is int and 0 < size <= _MOST:
            periods.append(size)
    return periods


def _kinds(part: Mapping[str, object], count: int) -> list[tuple[str, ...]]:
    """Return what the config says of each layer."""
    kinds: list[tuple[str, ...]] = [()] * count
    if count == 1:
        return kinds
    for key, value in sorted(part.items()):
        if isinstance(value, str) and key in _PATTERNS and len(value) == count:
            entries: list[str] = list(value)
        elif isinstance(value, list) and _NUMBERS.fullmatch(key) and all(type(item) is int for item in value):
            first = 1 if value and max(value) == count and 0 not in value else 0
            entries = [str(number + first in value) for number in range(count)]
        elif isinstance(value, list) and len(value) == count:
            entries = [repr(item) for item in value]
        elif is_by_layer(value):
            own = {int(name): repr(item) for name, item in value.items()}
            entries = [own.get(number, "") for number in range(count)]
        else:
            continue
        kinds = [(*kind, entry) for kind, entry in zip(kinds, entries, strict=True)]
    return kinds


def _period(kinds: list[tuple[str, ...]]) -> int | None:
    """Return the shortest period that comes twice, the last may be cut; None if none can be kept."""
    for period in range(1, min(_MOST, max(1, len(kinds) // 2)) + 1):
        if all(kind == kinds[number % period] for number, kind in enumerate(kinds)):
            return period
    return None


def _some(kinds: list[tuple[str, ...]]) -> tuple[int, ...]:
    """Return the shortest beginning that has all kinds, else the first of each kind; it ends with the last one's kind.

    Some classes have a rule for their last layer, as Gemma 4, which looks at everything there.
    """
    if len(kinds) <= _ALL:
        return tuple(range(len(kinds)))  # what breaks a pattern may stand anywhere
    kept = _beginning(kinds)
    return kept if kinds[kept[-1]] == kinds[-1] else (*kept, len(kinds) - 1)


def _beginning(kinds: list[tuple[str, ...]]) -> tuple[int, ...]:
    everything = set(kinds)
    for length in range(1, _MOST + 1):
        if set(kinds[:length]) == everything:
            return tuple(range(min(max(2, length), len(kinds))))
    chosen: set[int] = set()
    for kind in sorted(everything, key=kinds.index):
        place = kinds.index(kind)
        chosen |= {place, min(place + 1, len(kinds) - 1)}
        if len(chosen) >= _MOST:
            break
    return tuple(sorted(chosen))
