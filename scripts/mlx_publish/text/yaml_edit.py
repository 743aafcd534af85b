"""One value of a YAML file replaced or added, with every other character as it was: comments, quotes, line ends."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml  # type: ignore[import-untyped]

from mlx_publish.text.yaml import events_of

_MARK = "\ufeff"
_END_OF_LINE = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class _Pair:
    """Where a key and its value stand in a text, counted in characters."""

    key: str
    column: int
    start: int
    end: int
    in_flow: bool
    """Whether it stands between braces."""


def with_value(text: str, key: str, value: str, after: str) -> str:
    """Return a mapping's text in which a key of its first level has a value; a new key follows the key `after`.

    Raises `yaml.YAMLError` for what is no mapping, and `KeyError` where it has neither key.
    """
    if text.startswith(_MARK):  # which libyaml does not count
        return _MARK + with_value(text[1:], key, value, after)
    pairs = {pair.key: pair for pair in _pairs(text)}
    if key in pairs:
        return _replaced(text, pairs[key], value)
    neighbour = pairs[after]
    if neighbour.in_flow:
        return f"{text[: neighbour.end]}, {key}: {value}{text[neighbour.end :]}"
    ends = _END_OF_LINE.search(text)
    line_end, line = ends[0] if ends else "\n", f"{' ' * neighbour.column}{key}: {value}"
    if _is_block(text, neighbour):  # it ends where the next line begins
        return f"{text[: neighbour.end]}{line}{line_end}{text[neighbour.end :]}"
    own = _END_OF_LINE.search(text, neighbour.end)
    at = own.end() if own else len(text)
    return f"{text[:at]}{'' if own else line_end}{line}{line_end}{text[at:]}"


def _replaced(text: str, pair: _Pair, value: str) -> str:
    before, old, rest = text[: pair.start], text[pair.start : pair.end], text[pair.end :]
    if _is_block(text, pair):
        value += old[len(old.rstrip("\r\n")) :]
    return f"{before}{'' if before[-1:].isspace() else ' '}{value}{rest}"


def _is_block(text: str, pair: _Pair) -> bool:
    """Tell whether a value is of the kind that begins with `|` or `>` and goes on below."""
    return text[pair.end - 1 : pair.end] in ("\r", "\n")


def _pairs(text: str) -> Iterator[_Pair]:
    """Yield the keys of the first level that have a scalar as their value."""
    depth, in_flow, key = 0, False, None
    for event in events_of(text):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            in_flow = event.flow_style if depth == 1 else in_flow
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
            key = key if depth != 1 else None
        elif depth == 1 and isinstance(event, yaml.ScalarEvent):
            if key is None:
                key = event
            else:
                start, end = event.start_mark.index, event.end_mark.index
                yield _Pair(str(key.value), key.start_mark.column, start, end, bool(in_flow))
                key = None
