"""All of YAML 1.2, by ruamel.yaml: what `yaml_quick` leaves, and the words for what is no YAML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from mlx_publish.errors import BadInput, Place
from mlx_publish.text.yaml_bounds import judge

ODD = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError, YAMLError)
"""What ruamel.yaml raises for a date that is none, a key that is a list, an unknown truth and more."""
_SHOWN = 200


def full(text: str, file: str) -> tuple[Any, dict[str, int]]:
    """Return plain data and the 1-based line of every key path; `BadInput` naming file and line where it is no YAML."""
    try:
        judge(YAML(typ="safe", pure=True).parse(text), file)
        loaded = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1 if mark else 0)
        raise BadInput(f"not valid YAML: {error.problem}", place=place, remedy="Correct the line.") from error
    except ODD as error:
        raise BadInput(f"not valid YAML: {str(error)[:_SHOWN]}", place=file) from error
    return _plain(loaded), dict(_lines(loaded, ""))


def scalar_of(text: str) -> Any:
    """Read a number or a truth; anything else stays the text that it is."""
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except ODD:
        return text
    return value if isinstance(value, (bool, int, float)) else text


def _plain(value: object) -> Any:
    """Turn ruamel's types, which remember their layout, into the ordinary ones."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, ScalarBoolean):  # an int to Python
        return bool(value)
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _lines(value: object, path: str) -> Iterator[tuple[str, int]]:
    if isinstance(value, CommentedMap):
        own = value.lc.data or {}  # None where there is nothing but `<<`
        for key, item in value.items():
            below = f"{path}.{key}" if path else str(key)
            # A key that `<<` brought along has no line of its own here.
            yield below, (own.get(key) or [value.lc.line])[0] + 1
            yield from _lines(item, below)
    elif isinstance(value, CommentedSeq):
        places = value.lc.data or {}  # None where a tag stands before the list
        for index, item in enumerate(value):
            yield f"{path}[{index}]", (places.get(index) or [value.lc.line])[0] + 1
            yield from _lines(item, f"{path}[{index}]")
