"""YAML that remembers on which line each key stood."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from mlx_publish.errors import BadInput


def key_path(parts: tuple[str | int, ...]) -> str:
    """Write a path of keys as `variants[0].bits`."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def load_yaml(path: Path) -> tuple[Any, dict[str, int]]:
    """Read a YAML 1.2 file into plain data and the 1-based line of every key path.

    Raises `BadInput` that names file and line where the file is missing, unreadable or not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        loaded = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise BadInput(f"not valid YAML: {error.problem}", place=place, remedy="Correct the line.") from error
    except (YAMLError, LookupError, ValueError) as error:  # a date that is none, an unknown truth, not UTF-8
        raise BadInput(f"not valid YAML: {error}", place=str(path)) from error
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", place=str(path)) from error
    return _plain(loaded), dict(_lines(loaded, ()))


def scalar(text: str) -> Any:
    """Read text from a flag or a form as one YAML scalar: `4` is a number, `no` is text."""
    try:
        value = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, LookupError, ValueError):
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


def _lines(value: object, path: tuple[str | int, ...]) -> Iterator[tuple[str, int]]:
    if isinstance(value, CommentedMap):
        for key, item in value.items():
            # A key that `<<` brought along has no line of its own here.
            yield key_path((*path, str(key))), (value.lc.data.get(key) or [value.lc.line])[0] + 1
            yield from _lines(item, (*path, str(key)))
    elif isinstance(value, CommentedSeq):
        for index, item in enumerate(value):
            yield key_path((*path, index)), value.lc.item(index)[0] + 1
            yield from _lines(item, (*path, index))
