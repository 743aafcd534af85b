"""What makes numbers of pictures and sounds: the files of a processor, and whether what they say is possible.

transformers 4 wrote preprocessor_config.json beside processor_config.json, transformers 5 writes one into the other.
Sizes are bounded: whoever draws a picture of a thousand million pixels takes all memory there is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

FILES = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
_NESTED = ("image_processor", "video_processor", "feature_extractor", "audio_processor")
_SIDE, _AREA = 1 << 15, 1 << 29
"""Most pixels of a side, and of a picture where a size is an area."""
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
    """Yield what is possible and makes of every picture about the same: a mean of 255 of what is scaled to 1."""
    settings = processor.settings
    mean, factor = settings.get("image_mean"), settings.get("rescale_factor", 1 / 255)
    means = [one for one in (mean if isinstance(mean, list) else [mean]) if isinstance(one, (int, float))]
    to_one = settings.get("do_rescale", True) is True and isinstance(factor, (int, float)) and 0 < factor < _TO_ONE
    if to_one and means and max(means) > _MOST_MEAN:
        yield f"{processor.place}: image_mean is up to {_short(max(means))}, of pictures that are scaled to 1"


def _faults(key: str, value: object, *, area: bool) -> Iterator[str]:
    if any(not math.isfinite(number) for number in _floats(value)):
        yield f"{key} has no finite number"
    elif value is None or isinstance(value, (str, bool)):
        return
    elif _PIXELS.fullmatch(key):
        yield from _whole(key, [value], _AREA)
    elif _SIZES.fullmatch(key):
        yield from _whole(key, _numbers(value), _AREA if area else _SIDE)
    elif _SMALL.fullmatch(key):
        yield from _whole(key, _numbers(value), _MOST_SMALL)
    elif _COUNTS.fullmatch(key):
        yield from _whole(key, _numbers(value), _COUNT)
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
    return list(value) if isinstance(value, list) else [value]


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
