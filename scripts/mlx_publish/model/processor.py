"""What a source says of how its pictures become numbers, and whether the tower can take them.

Sources: `ImageProcessingMixin` of transformers, which reads preprocessor_config.json or the part `image_processor` of
processor_config.json.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

FILES = IMAGES, WHOLE = "preprocessor_config.json", "processor_config.json"
_OWN = ("image_mean", "image_std", "size", "crop_size", "image_size", "patch_size", "candidate_resolutions")
"""With one of them processor_config.json describes pictures itself, as that of DeepSeek-VL2 does."""
_SIZES = ("size", "crop_size", "pad_size", "max_image_size", "min_pixels", "max_pixels")
_COUNTS = ("image_seq_length", "image_seq_len", "num_image_tokens", "max_soft_tokens", "mm_tokens_per_image")
_MOST_SIZE, _MOST_TOKENS = 1 << 28, 1 << 20
"""Pixels on an edge or in all, and tokens, of one picture: 0.8 GB of bytes; the largest real ones have some 2^25."""
_FILTERS = range(6)
"""Of Pillow: nearest, Lanczos, bilinear, bicubic, box, Hamming."""
_GRID = (("patch_size", "patch_size"), ("merge_size", "spatial_merge_size"))
"""Of an image processor that cuts pictures into patches itself, and of vision_config."""
_TIME = "temporal_patch_size"
_TO_ONE, _MOST_MEAN = 0.1, 2.0

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Misfits:
    """What is wrong with a processor's files, and what is only odd."""

    wrong: tuple[str, ...]
    odd: tuple[str, ...]


def image_settings(files: Mapping[str, Settings]) -> Settings | None:
    """Return the settings of the image processor among the JSON objects of a source; None where none has them."""
    whole = files.get(WHOLE) or {}
    nested = whole.get("image_processor")
    if isinstance(nested, Mapping):
        return nested
    if IMAGES in files:
        return files[IMAGES]
    return whole if any(key in whole for key in _OWN) else None


def misfits(files: Mapping[str, Settings], config: Settings) -> Misfits:
    """Compare a processor's JSON objects with themselves and with config.json."""
    settings = image_settings(files)
    if settings is None:
        return Misfits(("no file says how pictures are read (preprocessor_config.json)",), ())
    part = config.get("vision_config")
    vision: Settings = part if isinstance(part, Mapping) else {}
    wrong = [*_numbers(settings), *_filter(settings), *_grid(settings, vision)]
    odd: list[str] = []
    for one in (settings, files.get(WHOLE) or {}):
        for name, forced in _large(one):
            (wrong if forced else odd).append(name)
    odd += [*_scale(settings), *_time(settings, vision), *_image_size(settings, vision)]
    return Misfits(tuple(dict.fromkeys(wrong)), tuple(dict.fromkeys(odd)))


def _numbers(settings: Settings) -> Iterator[str]:
    """Yield what of mean and deviation cannot be."""
    lengths = {}
    for key in ("image_mean", "image_std"):
        value = settings.get(key)
        if value is None:
            continue
        values = value if isinstance(value, list) else [value]
        if not values or not all(_is_number(one) for one in values):
            yield f"{key} is not a list of numbers"
            continue
        if isinstance(value, list):
            lengths[key] = len(values)
        if key == "image_std" and min(values) <= 0:
            yield "image_std has a deviation that is not above 0"
    if len(set(lengths.values())) > 1:
        yield "image_mean and image_std have another number of channels"


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _filter(settings: Settings) -> Iterator[str]:
    resample = settings.get("resample")
    if type(resample) is int and resample not in _FILTERS:
        yield f"resample {_shown(resample)} is no filter of Pillow"


def _grid(settings: Settings, vision: Settings) -> Iterator[str]:
    if not all(_whole(settings.get(own)) for own, _ in _GRID):
        return
    for own, other in _GRID:
        one, tower = _whole(settings.get(own)), _whole(vision.get(other))
        if one and tower and one != tower:
            yield f"{own} is {_shown(one)}, and {other} of vision_config is {_shown(tower)}"


def _time(settings: Settings, vision: Settings) -> Iterator[str]:
    one, tower = _whole(settings.get(_TIME)), _whole(vision.get(_TIME))
    if one and tower and one != tower:
        yield f"{_TIME} is {_shown(one)}, and that of vision_config is {_shown(tower)}"


def _image_size(settings: Settings, vision: Settings) -> Iterator[str]:
    """Yield that pictures come in another size than the tower has position embeddings for."""
    tower = _whole(vision.get("image_size"))
    place = next((key for key in ("max_image_size", "crop_size", "size") if isinstance(settings.get(key), Mapping)), "")
    edges = {key: settings[place].get(key) for key in ("height", "width", "longest_edge")} if place else {}
    given = {edge for edge in map(_whole, edges.values()) if edge}
    square = edges.get("height") is not None or place == "max_image_size"
    if tower and square and given and given != {tower}:
        yield f"{place} is {_shown(min(given))}, and image_size of vision_config is {_shown(tower)}"


def _scale(settings: Settings) -> Iterator[str]:
    mean, factor = settings.get("image_mean"), settings.get("rescale_factor", 1 / 255)
    values = [one for one in (mean if isinstance(mean, list) else [mean]) if _is_number(one)]
    to_one = settings.get("do_rescale", True) is True and _is_number(factor) and 0 < factor < _TO_ONE
    if to_one and values and max(values) > _MOST_MEAN:
        yield f"image_mean is up to {_shown(max(values))}, for pictures that are scaled to 1"


def _large(settings: Settings) -> Iterator[tuple[str, bool]]:
    """Yield sizes and counts that no memory holds, with whether every picture is made as large."""
    for key in _SIZES:
        value = settings.get(key)
        numbers = value if isinstance(value, Mapping) else {"": value}
        ranged = "shortest_edge" in numbers or "min_pixels" in settings
        for name, number in numbers.items():
            if large := _above(number, _MOST_SIZE):
                upper = ranged and (name == "longest_edge" or key == "max_pixels")
                yield f"{'.'.join(filter(None, (key, str(name)[:40])))} is {large} pixels", not upper
    for key in _COUNTS:
        if large := _above(settings.get(key), _MOST_TOKENS):
            yield f"{key} is {large} tokens for a picture", True


def _above(value: object, most: int) -> str:
    """Return a number that is more, as text; else nothing."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and value > most
    return _shown(value) if number else ""


def _whole(value: object) -> int | None:
    """Return a whole number above 0, also of a square `{height, width}`; else None."""
    if isinstance(value, Mapping):
        height, width = value.get("height"), value.get("width")
        value = height if height == width else None
    return value if type(value) is int and value > 0 else None


def _shown(number: object) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)[:20]
