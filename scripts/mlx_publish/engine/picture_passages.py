"""Texts with a picture in front of them, as a processor makes them; source and result read the very same arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_publish.chat.media import Contrast, Medium
from mlx_publish.chat.pictures import PICTURES
from mlx_publish.engine.seeing import prompts_of
from mlx_publish.engine.showing import Reader, inputs_of, reader_of
from mlx_publish.errors import PublishError, Refused

SAMPLED = 32
"""Positions of a picture whose logits are kept: they lie evenly over it."""
_MASK = "attention_mask"
_INDEX = "passages.json"
_INPUT = "input."
UNLOADED = "picture-answers"
"""The check that a processor fails which mlx-vlm cannot load."""
_LONGEST = 300  # characters of a reason
_ARRAYS = (mx.array, np.ndarray)


@dataclass(frozen=True)
class PicturePassage:
    """A picture, a question about it and a sentence that says what is seen."""

    text: str
    """The name of the contrast whose text it is: one with another picture has the same text."""
    medium: str
    """The name of the picture."""
    ids: tuple[int, ...]
    image: tuple[int, int] | None
    """The first position of the picture, and the first one behind it; None where no token of config.json tells."""
    arrays: Mapping[str, mx.array] = field(default_factory=dict)
    """What the model is given beside ids: pixels, the mask, grids."""
    values: Mapping[str, object] = field(default_factory=dict)
    """The same, of what is no array."""

    @property
    def inputs(self) -> dict[str, Any]:
        """Return all that the model is given beside ids."""
        given: dict[str, Any] = dict(self.values)
        lists: dict[str, dict[int, mx.array]] = {}
        for name, array in self.arrays.items():
            key, _, number = name.partition("#")
            if number:
                lists.setdefault(key, {})[int(number)] = array
            else:
                given[key] = array
        # A file of arrays keeps no order.
        return given | {key: [arrays[number] for number in sorted(arrays)] for key, arrays in lists.items()}

    @property
    def text_positions(self) -> range:
        """Return the positions behind the picture whose next token is known; that of its last token tells the first."""
        begin = self.image[1] - 1 if self.image else 0
        return range(begin, len(self.ids) - 1)

    @property
    def image_positions(self) -> list[int]:
        """Return some positions of the picture, but for its last."""
        if self.image is None:
            return []
        first, behind = self.image
        positions = range(first, behind - 1)
        return list(positions[:: -(-len(positions) // SAMPLED)]) if positions else []

    @property
    def kept(self) -> list[int]:
        """Return the positions whose logits are compared: those of the picture, then those of the text."""
        return [*self.image_positions, *self.text_positions]

    @property
    def image_tokens(self) -> int:
        """Return how many tokens the picture takes."""
        return self.image[1] - self.image[0] if self.image else 0


def picture_passages(folder: Path, contrasts: Sequence[Contrast] = PICTURES) -> list[PicturePassage]:
    """Return the passages by the processor of a folder; what its library raises on them goes through."""
    reader = reader_of(folder)
    prompts = prompts_of(reader, contrasts, {})
    passages: dict[tuple[str, str], PicturePassage] = {}
    for contrast in contrasts:
        text = f"{prompts[contrast.one.question]}This picture shows {contrast.one.shows}."
        for medium in (contrast.one, contrast.other):
            if (text, medium.name) not in passages:
                made = _passage(reader, inputs_of(reader, text, medium))
                named = next((of.text for (known, _), of in passages.items() if known == text), contrast.name)
                passages[text, medium.name] = replace(made, text=named, medium=medium.name)
    return list(passages.values())


def question_about(folder: Path, medium: Medium) -> PicturePassage:
    """Return the prompt that asks about a picture, by the processor of a folder; an answer follows it."""
    reader = reader_of(folder)
    prompts = prompts_of(reader, [Contrast(medium.name, medium, medium)], {})
    made = _passage(reader, inputs_of(reader, prompts[medium.question], medium))
    return replace(made, text=medium.name, medium=medium.name)


def said(error: Exception) -> str:
    """Return what a processor or a tower raised, cut and on one line; what is of the surroundings is raised again."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) is not None:
        raise error
    if isinstance(error, Refused) and error.check == UNLOADED:
        return error.message[:_LONGEST]
    if isinstance(error, PublishError):
        raise error
    return f"{type(error).__name__}: {' '.join(str(error).split())[:_LONGEST]}"


def _passage(reader: Reader, inputs: dict[str, Any]) -> PicturePassage:
    """Return a passage of what a processor gives; `attention_mask` is what mlx-vlm's models call `mask`."""
    given = dict(inputs)
    ids = tuple(int(id_) for id_ in given.pop("input_ids").flatten().tolist())
    if _MASK in given:
        given["mask"] = given.pop(_MASK)
    place = reader.place("picture")
    places = [position for position, id_ in enumerate(ids) if id_ == place]
    arrays: dict[str, mx.array] = {}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, _ARRAYS):
            arrays[key] = mx.array(value)
        elif (
            isinstance(value, (list, tuple)) and value and all(isinstance(one, (mx.array, np.ndarray)) for one in value)
        ):
            arrays |= {f"{key}#{number}": mx.array(one) for number, one in enumerate(value)}
        else:
            values[key] = value
    return PicturePassage("", "", ids, (places[0], places[-1] + 1) if places else None, arrays, values)


def _is_of_arrays(value: object) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(one, _ARRAYS) for one in value)


def inputs_sha256(passages: Sequence[PicturePassage]) -> str:
    """Return the SHA-256 of all that passages are read from: ids, then each array by name, with type and shape."""
    whole = hashlib.sha256()
    for passage in passages:
        whole.update(json.dumps([passage.ids, passage.values], sort_keys=True, default=str).encode())
        for name, array in sorted(passage.arrays.items()):
            whole.update(f"{name} {array.dtype} {array.shape}".encode())
            whole.update(np.array(array.astype(mx.float32)).tobytes())
    return whole.hexdigest()


def write_pictures(store: Path, passages: Sequence[PicturePassage], logits: Sequence[mx.array]) -> None:
    """Write passages and the logits of their kept positions, (positions, vocabulary), into the new folder `store`."""
    store.mkdir()
    index = []
    for number, (passage, computed) in enumerate(zip(passages, logits, strict=True)):
        arrays = {f"{_INPUT}{name}": array for name, array in passage.arrays.items()}
        mx.save_safetensors(str(store / f"{number:02d}.safetensors"), {**arrays, "logits": computed})
        index.append(
            {
                "text": passage.text,
                "medium": passage.medium,
                "ids": passage.ids,
                "image": passage.image,
                "values": passage.values,
            }
        )
    (store / _INDEX).write_text(json.dumps(index), encoding="utf-8")


def read_pictures(store: Path) -> list[tuple[PicturePassage, mx.array]]:
    """Return the passages of a store, each with the source's logits; none where there is no store."""
    if not (store / _INDEX).exists():
        return []
    read = []
    for number, entry in enumerate(json.loads((store / _INDEX).read_text(encoding="utf-8"))):
        held: Any = mx.load(str(store / f"{number:02d}.safetensors"))
        arrays = {name[len(_INPUT) :]: array for name, array in held.items() if name.startswith(_INPUT)}
        ids, image = tuple(entry["ids"]), entry["image"] and (entry["image"][0], entry["image"][1])
        passage = PicturePassage(entry["text"], entry["medium"], ids, image, arrays, entry["values"])
        read.append((passage, held["logits"]))
    return read
