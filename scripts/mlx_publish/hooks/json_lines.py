"""On which line each key of a JSON file stands; only asked for where something is wrong with one."""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterator

_WORD = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


def key_lines(text: str) -> dict[str, int]:
    """Return the 1-based line of every key and item by its path, as `chat_template[0].name`, of valid JSON."""
    ends = [found.start() for found in re.finditer("\n", text)]
    words = ((match.group(), 1 + bisect.bisect_left(ends, match.start())) for match in _WORD.finditer(text))
    lines: dict[str, int] = {}
    _value(next(words)[0], "", words, lines)
    return lines


def _value(word: str, path: str, words: Iterator[tuple[str, int]], lines: dict[str, int]) -> None:
    if word == "{":
        _object(path, words, lines)
    elif word == "[":
        _array(path, words, lines)


def _object(path: str, words: Iterator[tuple[str, int]], lines: dict[str, int]) -> None:
    for word, line in words:
        if word == "}":
            return
        if word != ",":
            key = json.loads(word, strict=False)
            below = f"{path}.{key}" if path else key
            lines[below] = line
            next(words)  # the colon
            _value(next(words)[0], below, words, lines)


def _array(path: str, words: Iterator[tuple[str, int]], lines: dict[str, int]) -> None:
    number = 0
    for word, line in words:
        if word == "]":
            return
        if word != ",":
            below = f"{path}[{number}]"
            lines[below] = line
            _value(word, below, words, lines)
            number += 1
