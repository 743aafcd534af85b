"""On which line each key of a JSON file stands; only asked for where something is wrong with one."""

from __future__ import annotations

import bisect
import contextlib
import json
import re
from collections.abc import Iterator

MOST = 64 << 20
"""Characters of all paths together; behind that no line is known. A key of a megabyte over a million items has more."""
_WORD = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)


class _Full(Exception):
    """There are more paths than are worth their room."""


class _Lines(dict[str, int]):
    """Lines by path, as long as the paths have room."""

    left = MOST

    def __setitem__(self, path: str, line: int) -> None:
        self.left -= len(path)
        if self.left < 0:
            raise _Full
        super().__setitem__(path, line)


def key_lines(text: str) -> dict[str, int]:
    """Return the 1-based line of every key and item by its path, as `chat_template[0].name`, of valid JSON.

    Of a text whose paths have more than `MOST` characters only those at its beginning.
    """
    ends = [end.start() for end in re.finditer("\n", text)]
    words = ((match.group(), 1 + bisect.bisect_left(ends, match.start())) for match in _WORD.finditer(text))
    lines = _Lines()
    with contextlib.suppress(_Full):
        _value(next(words)[0], "", words, lines)
    return dict(lines)


def _value(word: str, path: str, words: Iterator[tuple[str, int]], lines: _Lines) -> None:
    if word == "{":
        _object(path, words, lines)
    elif word == "[":
        _array(path, words, lines)


def _object(path: str, words: Iterator[tuple[str, int]], lines: _Lines) -> None:
    for word, line in words:
        if word == "}":
            return
        if word != ",":
            key = json.loads(word, strict=False)
            below = f"{path}.{key}" if path else key
            lines[below] = line
            next(words)  # the colon
            _value(next(words)[0], below, words, lines)


def _array(path: str, words: Iterator[tuple[str, int]], lines: _Lines) -> None:
    number = 0
    for word, line in words:
        if word == "]":
            return
        if word != ",":
            below = f"{path}[{number}]"
            lines[below] = line
            _value(word, below, words, lines)
            number += 1
