"""Foreign JSON within bounds: bytes, depth, digits, keys that stand twice, numbers that are none."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from mlx_publish.errors import Place
from mlx_publish.text.bounds import DIGITS, Bounds

_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_WORD = re.compile(r'(?P<text>"[^"\\]*(?:\\.[^"\\]*)*")(?P<colon>\s*:)?|[\[\]{}]', re.DOTALL)
_LONG_NUMBER = re.compile(rf"\d{{{DIGITS + 1}}}")
_AS_ZERO = bytes.maketrans(b"123456789", b"000000000")
_SHOWN = 100


class FaultyJson(ValueError):
    """The text is not JSON that every reader understands alike; `line` is 0 where it is not known."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line

    def place(self, path: object) -> Place:
        """Return the place of the fault, in a file of this path."""
        return Place(str(path), self.line)


class RepeatedKey(FaultyJson):
    """A key appears twice in one object."""


class _LongNumber(FaultyJson):
    """A number has more digits than anybody counts to."""


def parse(content: bytes | str, bounds: Bounds) -> Any:
    """Parse JSON, a byte order mark before it allowed. Raises `FaultyJson`."""
    text = _text(content, bounds)
    try:
        data = json.loads(text, **_hooks(text, bounds))
    except FaultyJson as error:
        raise type(error)(error.message, _line_of(error, text)) from None
    except json.JSONDecodeError as error:
        raise FaultyJson(f"not valid JSON: {error.msg}", error.lineno) from error
    except RecursionError:
        raise _too_deep(text, bounds) from None
    if _is_deeper(data, bounds.deepest):
        raise _too_deep(text, bounds)
    if bounds.encodable and _ESCAPED_HALF.search(text):
        _encodable(data)
    return data


def read(path: Path, bounds: Bounds) -> Any:
    """Read a file no further than its bounds allow, and parse it. Raises `FaultyJson`, or OSError."""
    return parse(read_within(path, bounds.most_bytes), bounds)


def read_within(path: Path, most: int) -> bytes:
    """Return the bytes of a file. Raises `FaultyJson` where it has more than `most`."""
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise _too_large(most)
    return content


def _too_large(most: int) -> FaultyJson:
    return FaultyJson(f"is larger than {most:,} bytes, which no such file needs")


def _text(content: bytes | str, bounds: Bounds) -> str:
    if len(content) > bounds.most_bytes:
        raise _too_large(bounds.most_bytes)
    if isinstance(content, str):
        return content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FaultyJson(f"not UTF-8: {error.reason}", content.count(b"\n", 0, error.start) + 1) from error


def _hooks(text: str, bounds: Bounds) -> dict[str, Any]:
    """Return only the hooks that the bounds need: each costs time on files of many megabytes."""
    hooks: dict[str, Any] = {}
    if bounds.twice != "last":
        hooks["object_pairs_hook"] = _unique if bounds.twice == "refused" else _unique_or_alike
    if _has_long_number(text):
        hooks["parse_int"] = _integer
    if bounds.finite:
        hooks |= {"parse_float": _finite, "parse_constant": _no_number}
    return hooks


def _has_long_number(text: str) -> bool:
    """Return whether so many digits stand in a row, perhaps in a string; ten times as fast as a pattern."""
    return b"0" * (DIGITS + 1) in text.encode("utf-8", "surrogatepass").translate(_AS_ZERO)


def _integer(digits: str) -> int:
    if len(digits) > DIGITS + 1:
        raise _LongNumber(f"holds a number of {len(digits):,} digits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise FaultyJson(f"holds the number {digits[:_SHOWN]}, which is larger than any")
    return value


def _no_number(name: str) -> NoReturn:
    raise FaultyJson(f"holds {name}, which is not a JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise _twice(next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1))
    return unique


def _unique_or_alike(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        for key, value in pairs:
            # As text, where 1, 1.0 and true differ.
            if value is not unique[key] and repr(value) != repr(unique[key]):
                raise _twice(key)
    return unique


def _twice(key: str) -> RepeatedKey:
    return RepeatedKey(f"the key {key[:_SHOWN]!r} appears twice in one object")


def _line_of(error: FaultyJson, text: str) -> int:
    """Return the line at which a hook of the parser failed: the parser does not pass it to its hooks."""
    if isinstance(error, _LongNumber):
        return _line_at(text, _LONG_NUMBER.search(text))
    return _line_at(text, _second(text)) if isinstance(error, RepeatedKey) else 0


def _line_at(text: str, place: re.Match[str] | None) -> int:
    return text.count("\n", 0, place.start()) + 1 if place else 0


def _second(text: str) -> re.Match[str] | None:
    """Return the first key that stands in its object already."""
    objects: list[set[str]] = []
    for word in _WORD.finditer(text):
        if word[0] in "[{":
            objects.append(set())
        elif word[0] in "]}":
            del objects[-1:]
        elif word["colon"] and objects:
            key = str(json.loads(word["text"], strict=False))
            if key in objects[-1]:
                return word
            objects[-1].add(key)
    return None


def _is_deeper(data: object, deepest: int) -> bool:
    level = [data] if isinstance(data, (dict, list)) else []
    for _ in range(deepest):
        below: list[Any] = []
        for value in level:
            for item in value.values() if type(value) is dict else value:
                # The parser makes no other kinds, and a tokenizer.json has a million of items.
                if type(item) is dict or type(item) is list:
                    below.append(item)  # noqa: PERF401
        if not below:
            return False
        level = below
    return True


def _too_deep(text: str, bounds: Bounds) -> FaultyJson:
    depth = 0
    for word in _WORD.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(word[0], 0)
        if depth > bounds.deepest:
            return FaultyJson("is nested too deeply", _line_at(text, word))
    return FaultyJson("is nested too deeply")


def _encodable(data: Any) -> None:
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise FaultyJson("holds half of a surrogate pair, which is no character") from None
