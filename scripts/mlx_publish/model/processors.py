"""What makes numbers of pictures and sounds: the files of a processor, and whether what they say is possible.

transformers 4 wrote preprocessor_config.json beside processor_config.json, transformers 5 writes one into the other.
Sizes are bounded: whoever draws a picture of a thousand million pixels takes all memory there is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

FILES = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
_NESTED = ("image_processor", "video_processor", "feature_extractor", "audio_processor")
_SIDE, _AREA, _LEAST_AREA = 1 << 13, 1 << 29, 1 << 22
"""Most pixels of a side, of a picture where a size is an area, and of the area that every picture is enlarged to."""
_SMALLEST = ("shortest_edge", "min_pixels")
"""Keys of the area that a small picture is enlarged to."""
_COUNT = 1 << 20
_PIXELS = re.compile(r"(min|max)_pixels")
_AREAS = ("merge_size", "temporal_patch_size")
"""Of a processor that has one, `size` bounds the area."""
_SIZES = re.compile(r"(crop_|max_image_|tile_|base_|default_|pad_)?size|image_size|video_size")
_SMALL = re.compile(r"(encoder_|spatial_)?patch_size|(spatial_)?merge_size|temporal_patch_size|downsample_factor")
_COUNTS = re.compile(
    r"(min|max)_(patches|tiles|image_tokens|frames|num_patches|image_tiles|soft_tokens|num_tiles)|num_frames"
    r"|image_seq_len(gth)?|audio_seq_length|num_crops|pooling_kernel_size|feature_size|hop_length|n_fft|chunk_length"
)
_MOST_SMALL = 1024
_RATES = (1000, 1_000_000)
_CHANNELS = (1, 3, 4)
_FILTERS = range(6)
"""Of Pillow: nearest, Lanczos, bilinear, bicubic, box, Hamming."""
_TO_ONE, _MOST_MEAN = 0.1, 2.0
_LEVEL, _RANGE = 1 / 255, (0.1, 40.0)
"""A level of 255, and how wide all colours are, in deviations, where nothing is mistaken."""
_OF_PICTURES = frozenset({"image_processor_type", "image_mean", "do_resize", "do_rescale"})
_OF_PIXELS = re.compile(
    r"image_mean|image_std|rescale_factor|do_(rescale|normalize|resize|center_crop|convert_rgb|image_splitting|pad)"
    r"|resample|(crop_|max_image_)?size|(min|max)_pixels|(temporal_)?patch_size|merge_size"
)
"""Settings that decide what numbers a picture becomes."""


@dataclass(frozen=True)
class Processor:
    """Settings of a part of a processor."""

    place: str
    """The file, with the key below which they stand."""
    settings: Mapping[str, object]

    @property
    def sees(self) -> bool:
        """Return whether it makes numbers of pictures."""
        marks = ("image_processor_type", "image_mean", "do_resize", "do_rescale", "size", "crop_size", "patch_size")
        return any(key in self.settings for key in marks) and "video" not in self.place


def processors(contents: Mapping[str, Mapping[str, object]]) -> tuple[Processor, ...]:
    """Return the parts of a processor that the files of a model describe."""
    found: list[Processor] = []
    for path in FILES:
        if path not in contents:
            continue
        own = contents[path]
        found.append(Processor(path, {key: value for key, value in own.items() if key not in _NESTED}))
        found += [
            Processor(f"{path} {key}", value) for key in _NESTED if isinstance(value := own.get(key), Mapping) and value
        ]
    return tuple(found)


def faults(processor: Processor) -> Iterator[str]:
    """Yield each setting that no picture or sound can be made with, as a sentence."""
    area = any(key in processor.settings for key in _AREAS)
    for key, value in processor.settings.items():
        for fault in _faults(key, value, area=area):
            yield f"{processor.place}: {fault}"
    yield from (f"{processor.place}: {fault}" for fault in _means(processor.settings))


def oddities(processor: Processor) -> Iterator[str]:
    """Yield what is possible and gives an encoder numbers that none was trained on: of another range of colours."""
    settings, place = processor.settings, processor.place
    scaled, normalised = settings.get("do_rescale") is not False, settings.get("do_normalize") is not False
    factor = settings.get("rescale_factor", _LEVEL)
    if not processor.sees or not isinstance(factor, (int, float)):
        return
    means, deviations = _each(settings.get("image_mean")), _each(settings.get("image_std"))
    if scaled and factor < _TO_ONE and means and max(means) > _MOST_MEAN:
        yield f"{place}: image_mean is up to {_short(max(means))}, of pictures that are scaled to 1"
    elif not normalised or not deviations:
        if settings.get("do_rescale") is False and settings.get("do_normalize") is False:
            yield f"{place}: do_rescale and do_normalize are false, so colours are numbers up to 255"
    elif (
        max(deviations) > 0 and not _RANGE[0] < (width := 255 * (factor if scaled else 1) / max(deviations)) < _RANGE[1]
    ):
        why = f"rescale_factor {_short(factor)}" if scaled else "do_rescale false"
        yield f"{place}: by {why} and image_std, colours become numbers over a range of {width:.3g}, not of some units"
    elif scaled and not math.isclose(factor, _LEVEL, rel_tol=0.02):
        yield f"{place}: rescale_factor is {_short(factor)}, not 1/255"


def disagreements(parts: Sequence[Processor]) -> Iterator[str]:
    """Yield each setting of pictures that two files have otherwise.

    transformers 5 reads processor_config.json, earlier versions and other clients preprocessor_config.json.
    """
    seeing = [part for part in parts if part.sees and not _OF_PICTURES.isdisjoint(part.settings)]
    for number, one in enumerate(seeing):
        for other in seeing[number + 1 :]:
            for key, value in one.settings.items():
                theirs = other.settings.get(key)
                if _OF_PIXELS.fullmatch(key) and None not in (value, theirs) and not _same(value, theirs):
                    yield f"{key} is {_short(value)} in {one.place}, and {_short(theirs)} in {other.place}"


def _same(value: object, other: object) -> bool:
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        return all(_same(value[key], other[key]) for key in value.keys() & other.keys())
    one, two = _each(value), _each(other)
    if one and two:
        # One number stands for all colours, and for both sides.
        longest = max(len(one), len(two))
        one, two = (numbers * longest if len(numbers) == 1 else numbers for numbers in (one, two))
        return len(one) == len(two) and all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(one, two, strict=True))
    return value == other or isinstance(value, Mapping) != isinstance(other, Mapping)


def _each(value: object) -> list[float]:
    """Return a number, or those of a list, one by one."""
    each = value if isinstance(value, list) else [value]
    return [one for one in each if isinstance(one, (int, float)) and not isinstance(one, bool)]


def _faults(key: str, value: object, *, area: bool) -> Iterator[str]:
    if any(not math.isfinite(number) for number in _floats(value)):
        yield f"{key} has no finite number"
    elif value is None:
        return
    elif _PIXELS.fullmatch(key):
        yield from _whole(key, [value], _LEAST_AREA if key in _SMALLEST else _AREA)
    elif _SIZES.fullmatch(key):
        if area and isinstance(value, Mapping):
            for name in _SMALLEST:
                yield from _whole(f"{key}.{name}", _numbers(value.get(name, 1)), _LEAST_AREA)
        yield from _whole(key, _numbers(value), _AREA if area else _SIDE)
    elif _SMALL.fullmatch(key):
        yield from _whole(key, _numbers(value), _MOST_SMALL)
    elif _COUNTS.fullmatch(key):
        yield from _whole(key, _numbers(value), _COUNT)
    elif isinstance(value, (str, bool)):
        return
    elif key == "rescale_factor" and not (isinstance(value, (int, float)) and 0 < value <= 1):
        yield f"{key} is {_short(value)}, by which no colour is a number up to 1"
    elif key == "resample" and type(value) is int and value not in _FILTERS:
        yield f"{key} is {_short(value)}, which is no filter of Pillow"
    elif key == "sampling_rate" and not (type(value) is int and _RATES[0] <= value <= _RATES[1]):
        yield f"{key} is {_short(value)}, not a rate of sound"


def _whole(key: str, values: list[object], most: int) -> Iterator[str]:
    for value in values:
        number = int(value) if isinstance(value, float) and value.is_integer() else value
        if type(number) is not int or not 0 < number <= most:
            yield f"{key} is {_short(value)}, not a whole number from 1 to {most:,}"
            return


def _numbers(value: object) -> list[object]:
    """Return the numbers of a size: one, two of a list, or those of a mapping by side."""
    if isinstance(value, Mapping):
        return [item for item in value.values() if item is not None]
    return list(value) if isinstance(value, list) else [] if value is None else [value]


def _floats(value: object) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _floats(item)
    elif isinstance(value, list):
        for item in value:
            yield from _floats(item)


def _means(settings: Mapping[str, object]) -> Iterator[str]:
    lengths = set[int]()
    for key in ("image_mean", "image_std"):
        value = settings.get(key)
        if value is None:
            continue
        each = value if isinstance(value, list) else [value]
        numbers = [float(n) for n in each if isinstance(n, (int, float)) and not isinstance(n, bool) and abs(n) <= 255]
        if len(numbers) < len(each):
            yield f"{key} is {_short(value)}, not a number for each colour"
        elif isinstance(value, list) and len(each) not in _CHANNELS:
            yield f"{key} has {len(each)} numbers, and a picture has 3 colours"
        elif key == "image_std" and min(numbers) <= 0:
            yield f"{key} is {_short(value)}, by which nothing can be divided"
        if isinstance(value, list):
            lengths.add(len(each))
    if len(lengths) > 1:
        yield "image_mean and image_std have different numbers of colours"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
