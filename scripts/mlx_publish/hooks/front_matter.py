"""The front matter of a card, held against what the Hub and its readers take."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from mlx_publish.errors import BadInput, Fault, in_file
from mlx_publish.hooks.faults import faults_of
from mlx_publish.recipes.faults import MOST, cut
from mlx_publish.text.yaml import parse_yaml

KEYS = frozenset({
    "license", "license_name", "license_link", "language", "library_name", "pipeline_tag", "base_model",
    "base_model_relation", "quantized_by", "tags",
})  # fmt: skip
"""All that a card of ours carries."""
_BLOCK = re.compile(r"---\n(.*?)^---$", re.DOTALL | re.MULTILINE)
_AGAIN = "Change the recipe and render the card again; docs/card.md lists the keys."


def faults(path: Path, text: str) -> Iterator[Fault]:
    """Yield what is wrong with the front matter of a card."""
    block = _BLOCK.match(text)
    if block is None:
        yield Fault("the card has no front matter between two lines '---'", in_file(path), remedy=_AGAIN)
        return
    try:
        # The empty line stands for the fence above, so that lines count from the top of the card.
        data, lines = parse_yaml("\n" + block[1], str(path))
    except BadInput as error:
        yield from faults_of(error, path)
        return
    if not isinstance(data, dict):
        yield Fault("the front matter is not a mapping of keys", in_file(path), remedy=_AGAIN)
        return
    wrong = list(_faults(data))
    for fault in wrong[:MOST]:
        place = in_file(path, lines.get(fault.key, 1))
        yield Fault(cut(fault.message), place, cut(fault.key), _AGAIN)
    if wrong[MOST:]:
        yield Fault(f"and {len(wrong) - MOST} more are wrong", in_file(path), remedy=_AGAIN)


def _faults(data: Mapping[str, object]) -> Iterator[Fault]:
    for key in data.keys() - KEYS:
        yield Fault("mlx-publish does not write this key", key=key)
    yield from _licence(data)
    for key in ("language", "base_model", "tags"):
        yield from _texts(key, data.get(key))
    if data.get("base_model_relation") not in (None, "quantized"):
        yield Fault("must be 'quantized' or absent", key="base_model_relation")
    tags, known = data.get("tags"), set[str]()
    for number, tag in enumerate(tags if isinstance(tags, list) else ()):
        if isinstance(tag, str) and tag.lower() in known:
            yield Fault(f"the tag {tag} appears twice", key=f"tags[{number}]")
        known.add(str(tag).lower())


def _licence(data: Mapping[str, object]) -> Iterator[Fault]:
    licence = data.get("license")
    if not isinstance(licence, str) or not licence:
        yield Fault("this key is missing" if licence is None else "is not text", key="license")
    for key in ("license_name", "license_link"):
        if licence == "other" and not data.get(key):
            yield Fault("this key is missing; the licence 'other' needs it", key=key)


def _texts(key: str, value: object) -> Iterator[Fault]:
    """Yield what is no text, as `no` without quotes, which is a truth to many readers, and the quick path leaves it."""
    for number, item in enumerate(value if isinstance(value, list) else [] if value is None else [value]):
        if not isinstance(item, str):
            place = f"{key}[{number}]" if isinstance(value, list) else key
            yield Fault(f"{item!r} is not text; quote it", key=place)
